"""Which networks the search may choose from."""
