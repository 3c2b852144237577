"""The registry: every engine that may serve, which is in force, and putting another one there."""
