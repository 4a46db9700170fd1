"""Forwards TCP connections to the sidecar, on another host, that owns their session."""
