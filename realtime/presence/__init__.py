"""Presence: who is in a place, with what state, on all sidecars of the bench."""
