"""Models of other projects: what they take, what they return, and what joins them to the line."""
