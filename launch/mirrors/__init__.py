"""Copies of what run directories say, in the stores of tracking services; one writer at a time, and nothing is written twice."""
