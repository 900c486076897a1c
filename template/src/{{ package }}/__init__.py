"""Your own code. Updates of the template never touch this folder."""
