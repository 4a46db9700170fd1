"""Who answers the events of clients: the core's own handlers, and those of apps in Python."""
