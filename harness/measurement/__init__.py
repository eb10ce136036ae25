"""A series of tests, seen from the parent process."""
