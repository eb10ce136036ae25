"""The frontier: published networks timed in INT8 on this CPU, their accuracy measured, the fastest picked."""
