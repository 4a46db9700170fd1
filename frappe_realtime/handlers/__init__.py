"""What a handlers file imports. Free of frappe, so that the sidecar can use it."""
