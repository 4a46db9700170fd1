"""Cluster adapter: several sidecars of one bench act as one server, over a Redis channel."""
