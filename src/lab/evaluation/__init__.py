"""What a network is worth on a text, and what that is to be read against."""
