"""Training: what a config names, batches in, best weights out. Knows no tracker."""
