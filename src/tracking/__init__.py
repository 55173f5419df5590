"""A run on disk and in MLflow: event log, synchronization, look-up, model registry."""

import os

# MLflow reads these settings when it is imported; only modules of this package import it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # usage reporting: only if the user turns it on
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # no messages about the creation of its tables
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the event log keeps what was not uploaded
