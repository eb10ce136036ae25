"""Child processes and workers: how they start, listen to signals, and end."""
