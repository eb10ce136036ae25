"""Where the time of an inference goes: ways to run a model side by side, its layers, the machine's peak."""

DEFAULT_ROUNDS = 5
