"""Canaries, the drill, and AWS Lambda."""
