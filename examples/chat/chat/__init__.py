"""Chat about any document: an example of realtime handlers in Python."""

__version__ = "0.1.0"
