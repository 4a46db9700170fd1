"""Several sidecars of one bench as one: handlers' emits reach the sockets of all, and each knows who is in which room of the others.

Socket.IO calls this the adapter. Here it is a Redis channel on which the sidecars speak to each other.
"""
