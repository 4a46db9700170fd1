"""The servers for comparison. Each has the main loop of the Frappe server that uses it."""
