"""The candidate's folder, and the predictor that runs it."""
