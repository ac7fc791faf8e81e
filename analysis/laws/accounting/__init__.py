"""How exponents move with what is counted as parameters and as compute, and with how the runs were trained."""
