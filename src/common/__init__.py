"""What every package may use: errors, atomic files, locks, signals, paths, processes, console output."""
