"""Monitoring: what the sidecars of a bench do, for System Managers in the Desk and for operators on the terminal.

Each process describes itself (`process`), and merges its own description with those of the others (`bench`). What is
collected for each event (`collector`) is collected only while a client watches.
"""
