"""`pipeline-loop`: a line that learns a kind of defect which it did not know."""
