"""The line's streams: every word to Redis is said here."""
