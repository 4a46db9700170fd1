"""Tasks of a team, on a live page: an example of an app with a Vue frontend."""

__version__ = "0.1.0"
