"""FLOPs, memory and time of the stages of stage two."""
