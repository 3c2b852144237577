"""Joins the verdicts of several cameras into one verdict per part."""
