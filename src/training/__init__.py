"""The trainer: data parallelism, early stopping, divergence, checkpoints, resuming."""
