"""Figures, by matplotlib: axes with units, readable in black and white."""
