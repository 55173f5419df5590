"""The page on which a person plays with two runs."""
