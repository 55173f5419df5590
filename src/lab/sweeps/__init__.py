"""Many runs as one: jobs reused or trained, searches, the end with its table and its page."""
