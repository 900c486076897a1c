"""`lifecycle adopt`: needed once, so it stays in the template; a project runs it in its own environment."""
