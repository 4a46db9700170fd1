"""Several sidecars of one bench as one server: Socket.IO's cluster adapter, over a Redis channel."""
