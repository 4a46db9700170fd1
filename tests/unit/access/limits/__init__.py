"""Limits: when each is reached, what the client is told, and that counters return to zero."""
