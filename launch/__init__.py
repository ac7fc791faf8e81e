"""Turns a sweep file into planned runs and hands them to an engine; starts without JAX and TensorFlow."""
