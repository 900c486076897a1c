"""`lifecycle simulate`: months of production in seconds, with faults, and what the loop does about them."""
