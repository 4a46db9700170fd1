"""The demo (`frappe-realtime demo`), and the fake of Frappe's web process that it shares with the tests."""
