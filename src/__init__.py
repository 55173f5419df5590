"""A character-level RNN laboratory: the commands, and the packages that they call."""
