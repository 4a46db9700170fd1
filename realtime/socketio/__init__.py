"""Socket.IO 5: packets, namespaces, rooms, acknowledgements, and fan-out. Has no dependency on Frappe."""
