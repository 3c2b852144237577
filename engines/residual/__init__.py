"""The one operator of PRN that no standard has: the residual to the nearest whole-map prototype."""
