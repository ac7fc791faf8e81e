"""One module a stage: its programs, its state, what it measures."""
