"""Several worker processes on one host, behind one port: their supervisor, and what they say to each other."""
