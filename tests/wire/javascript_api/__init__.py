"""Handlers in JavaScript have the same API as under Frappe's Node server.

Most tests let the app `chat` run JavaScript code with the `socket` of a client, and check the result.
"""
