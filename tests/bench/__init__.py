"""The ring of a real bench, named by FRAPPE_BENCH_ROOT: the app, the sidecar, nginx and the Desk as users have them."""
