"""Two sidecars of one bench act as one."""
