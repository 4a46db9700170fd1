"""The API for handlers files. Imports no Frappe, so that the sidecar can load it."""
