"""Users, their types and roles: names of Frappe."""

GUEST = "Guest"
"""The user of every client without a session, and the value of its cookie `sid`."""

ADMINISTRATOR = "Administrator"

SYSTEM_USER = "System User"
WEBSITE_USER = "Website User"
"""Values of `user_type`."""

SYSTEM_MANAGER = "System Manager"
"""The role that may monitor a site (Frappe's name)."""
