"""engines/conversion: DOCSTRING."""
