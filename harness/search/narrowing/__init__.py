"""Narrowing: the least important channels of any convolutional network go, and it learns from what it was."""
