"""From a day's labels to an engine that proved better: see docs/learning.md."""
