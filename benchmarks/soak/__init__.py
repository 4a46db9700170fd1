"""A long run of one sidecar with faults of clients, network, Redis and the web process."""
