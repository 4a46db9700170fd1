"""Apps with Python handlers, over connections to a running sidecar."""
