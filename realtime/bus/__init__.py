"""Redis: the address of redis_queue, the subscription to its channels, and commands to it."""
