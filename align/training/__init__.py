"""What all stages share: their directories, the loop, the measurement of policies."""
