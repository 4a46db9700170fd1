"""Half an hour of everything that can go wrong, against one sidecar."""
