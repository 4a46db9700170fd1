"""What an event costs that an app's handler answers."""
