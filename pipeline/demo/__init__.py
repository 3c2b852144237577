"""The demonstrations: a line on one machine, and a line that learns."""
