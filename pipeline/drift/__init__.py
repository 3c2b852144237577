"""Drift: how good parts come to differ from those that were good before."""
