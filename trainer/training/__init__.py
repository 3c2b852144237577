"""From pictures to a trained network that knows its thresholds."""
