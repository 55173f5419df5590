"""Helpers for all packages: errors, atomic files, locks, signals, paths, processes, console output."""
