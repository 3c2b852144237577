"""Verdicts as JSON records for an MQTT broker."""
