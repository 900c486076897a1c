"""Replays months of traffic with injected faults and shows how the system reacts."""
