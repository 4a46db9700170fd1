"""What runs for a bench: the process configuration, the scaffold of handlers, and the console script."""
