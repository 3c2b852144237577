"""Verdicts for an MES as signed HTTP requests (Standard Webhooks)."""
