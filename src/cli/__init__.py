"""The command line: composing a config, help, completion, error messages."""
