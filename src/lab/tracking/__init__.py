"""MLflow: journals delivered to it, runs and models found in it again, addresses of its pages."""
