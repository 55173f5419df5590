"""One run from corpus to samples."""
