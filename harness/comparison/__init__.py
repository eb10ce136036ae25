"""Comparing variants of a model: alternating rounds, speed-ups with intervals, paired accuracy tests."""

DEFAULT_ROUNDS = 5
