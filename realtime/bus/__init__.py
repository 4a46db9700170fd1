"""Redis: where it is, what it says on its channels, and what is written there."""
