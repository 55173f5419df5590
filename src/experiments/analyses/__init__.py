"""Measures and figure of each experiment, computed from its jobs."""
