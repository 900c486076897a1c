"""Columns and the one rule set by which rows are checked."""
