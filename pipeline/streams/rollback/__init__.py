"""Noticing that Redis went back to an earlier state."""
