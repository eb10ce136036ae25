"""Every test under the given folders as one tidy table."""
