"""The time of a network outside LoadGen."""
