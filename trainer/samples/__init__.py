"""The sample store: labelled pictures that a line gathers, what is golden of them, what waits."""
