"""Trained models as MLflow pyfunc models, with the code that they need."""
