"""The books of a station in Redis: which views were joined into which part."""
