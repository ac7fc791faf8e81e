"""Stage two: checkpoints of stage one through supervised fine-tuning, reward modelling, preference optimisation and reinforcement learning."""
