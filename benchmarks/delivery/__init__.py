"""Which events reach stock clients when connections break, and when the server and Redis restart."""
