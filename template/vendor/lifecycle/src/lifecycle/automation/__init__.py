"""Checks of production, the policy that decides, retraining, triggers and webhooks."""
