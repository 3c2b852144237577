"""Engines: what scores frames, the file it is loaded from, and the proof that it may judge."""
