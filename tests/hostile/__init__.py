"""Attacks and faults: what a client, an outage or a race may not cause."""
