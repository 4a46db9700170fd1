"""Ours beside its peers: what a delivery, a connection and a start cost, measured in one run on one machine."""
