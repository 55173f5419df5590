"""From a text to token ids and batches."""
