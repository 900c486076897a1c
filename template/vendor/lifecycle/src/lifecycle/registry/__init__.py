"""Versions, aliases and their history, in MLflow or in objects."""
