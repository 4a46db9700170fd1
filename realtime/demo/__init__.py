"""The demo, and the stand-in for Frappe's web process that it shares with the tests."""
