"""Publishing: the room and the time of an event, the write to Redis, and Frappe's functions replaced."""
