"""Models of other projects: their inputs and outputs, and how they are joined to the line."""
