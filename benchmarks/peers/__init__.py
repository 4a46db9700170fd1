"""The servers that ours is measured against, each with the loop of the Frappe server that uses it."""
