"""The Frappe app: all that runs inside Frappe's web, worker and bench processes."""

__version__ = "0.1.0"
