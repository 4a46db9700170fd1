"""Tests that need neither a site nor a server."""
