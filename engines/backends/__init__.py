"""One module for each runtime that can score frames."""
