"""Handlers of the events that clients send: Frappe's core events, and the events of apps with handlers in Python."""
