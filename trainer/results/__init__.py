"""Figures and pictures of what was trained, and what it is compared with."""
