"""Figures of a run and of a sweep, by matplotlib: axes with units, readable in black and white."""
