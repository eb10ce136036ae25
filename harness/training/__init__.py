"""Training with PyTorch, which comes with the extras `train` and `search` and is not there without them."""
