"""Thresholds, figures, pictures and export of what was trained, and what it is compared with."""
