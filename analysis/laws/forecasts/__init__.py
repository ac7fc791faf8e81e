"""The loss of runs that are still to be trained."""
