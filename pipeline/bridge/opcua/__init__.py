"""Verdicts for a PLC over OPC UA: flat tags, signed and encrypted, with users."""
