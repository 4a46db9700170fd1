"""The sidecar: all that runs in the realtime process; it never imports frappe by itself."""
