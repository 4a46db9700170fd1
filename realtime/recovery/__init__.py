"""Clients that come back: the order of events, the sessions, and what somebody has missed."""
