"""What several workers cost and carry, against one process."""
