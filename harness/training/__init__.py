"""Training with PyTorch, the `train` extra: nothing else in the harness imports this package."""
