"""The wire ring: a real sidecar, a real Valkey, real clients, and a stand-in for Frappe's web process."""
