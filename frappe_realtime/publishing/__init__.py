"""Publishing: the room and the time of an event, the write to Redis, and the overrides of Frappe's functions."""
