"""A run as a directory: its journal, who is at work in it, what it ran on, and of which sweep it is a job."""
