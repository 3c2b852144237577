"""Bridges: the verdicts of a line for PLCs and MES, over their own protocols."""
