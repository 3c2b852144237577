"""PRN's only non-standard operator: the residual to the nearest whole-map prototype."""
