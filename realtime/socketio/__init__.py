"""Socket.IO 5: packets, namespaces, rooms, acknowledgements, and one event to many sockets. Knows no Frappe."""
