"""A trained network: on disk, what it scores, the text it writes, and as MLflow keeps it."""
