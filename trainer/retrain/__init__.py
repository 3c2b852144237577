"""From what a line learned during the day to an engine that proved better: see docs/learning.md."""
