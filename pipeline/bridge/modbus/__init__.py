"""Verdicts for a PLC over Modbus TCP."""
