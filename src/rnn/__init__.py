"""The mathematics: forward and backward passes, loss, optimizers, schedules. NumPy only."""
