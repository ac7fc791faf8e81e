"""Clouds and Kubernetes: task files for SkyPilot, and its command. SkyPilot itself lives in an environment of its own."""
