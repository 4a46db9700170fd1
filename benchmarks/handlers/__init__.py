"""The cost of an event that a handler of an app answers."""
