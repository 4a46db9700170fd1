"""Who may read what: endpoints that the sidecar asks, and events that tell it what has changed."""
