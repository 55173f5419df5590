"""What each experiment measures of its jobs, and draws of them."""
