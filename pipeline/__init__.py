"""The line: from a camera's frame to exactly one verdict for every part."""
