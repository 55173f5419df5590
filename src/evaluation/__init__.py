"""Scores, their confidence intervals, and the baselines that they are compared with."""
