"""From pictures to a trained network, its thresholds and its engine file."""
