"""Connection state recovery: the event history of each site, the sessions of clients, and the replay of missed events."""
