"""Going on: checkpoints, which run is meant, with what it goes on or begins."""
