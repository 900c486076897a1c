"""Start, run and hand over a machine-learning model in production, without a platform."""
