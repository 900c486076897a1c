"""The HTTP server, its request model, its metrics and the smoke test."""
