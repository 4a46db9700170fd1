"""Socket.IO 5: packets, namespaces, rooms, acknowledgements, and and fan-out. Has no dependency on Frappe."""
