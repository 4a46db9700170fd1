"""What a fleet of sidecars costs, from one small server to a million sockets; docs/scaling.md has the results."""
