"""Search over hyper-parameters: Optuna asks and is told, runs are run directories like any other, and these alone are the truth."""
