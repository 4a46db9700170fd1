"""What runs in the realtime server."""
