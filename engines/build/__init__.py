"""engines/build: DOCSTRING."""
