"""The page on which a person compares the text of two runs."""
