"""What the loop remembers between its runs."""
