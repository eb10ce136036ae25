"""One command on every kind of machine of a Ray cluster, and the results of all in one table."""
