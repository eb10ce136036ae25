"""How the search goes through its space."""
