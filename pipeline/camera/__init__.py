"""Cameras: where frames come from, and the process that offers them to the line."""
