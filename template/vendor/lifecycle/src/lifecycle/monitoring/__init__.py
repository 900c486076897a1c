"""Profiles, drift, what was served, labels and performance."""
