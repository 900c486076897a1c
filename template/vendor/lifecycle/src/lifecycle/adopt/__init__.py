"""Makes the project yours: infers types, ranges and categories of a data file, and writes the four files."""
