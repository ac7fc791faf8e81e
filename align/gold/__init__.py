"""Gold rewards: what completions are really worth in an experiment, so that a proxy's mistakes can be seen."""
