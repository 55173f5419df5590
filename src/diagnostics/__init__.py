"""Gradient flow, saturation, and the analysis of hidden units."""
