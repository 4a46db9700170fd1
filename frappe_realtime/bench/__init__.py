"""The bench: process configuration, a scaffold for handlers, and the start of the sidecar."""
