"""What the web process, the sidecar and the browser must agree on, a module for each kind of names. None of them imports anything.

Names that are Frappe's own are marked as such: they are the same in v15, v16 and v17, and must not be changed. A Redis
key or channel that starts with `frappe_realtime:` is this project's.
"""
