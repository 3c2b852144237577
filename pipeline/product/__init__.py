"""The product of the demo: parts and defects drawn by formula."""
