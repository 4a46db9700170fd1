"""Permissions: endpoints that the sidecar calls, and messages that tell it what has changed."""
