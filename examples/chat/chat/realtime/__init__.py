"""Code that runs in the realtime server."""
