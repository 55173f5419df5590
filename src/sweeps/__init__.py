"""Many runs as one: jobs, launchers, searches, the summary and the report."""
