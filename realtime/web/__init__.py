"""The web process: the one way to call it, and answers that are kept for a while."""
