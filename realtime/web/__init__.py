"""The web process: an HTTP client for it, the shared secret, and a cache of its answers."""
