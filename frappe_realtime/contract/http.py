"""HTTP between the sidecar, the web process and the browser, and the hooks of apps that the web process calls for the sidecar."""

SECRET_HEADER = "X-Frappe-Socket-Secret"
"""Carries the value of `SECRET_KEY` (Frappe's name)."""

SITE_HEADER = "X-Frappe-Site-Name"
"""Names the site folder (Frappe's name; set by nginx)."""

PAGE_HEADER = "X-Frappe-Realtime-Page"
"""Names the page that makes a request, so that the progress of its work is shown there; also in public/js/page.js."""

METHOD_PREFIX = "/api/method/frappe.realtime."
"""The path of the endpoints in permissions/endpoints.py; Frappe exempts it from a user's IP restriction."""

ALLOWED_ADDRESSES = "allowed_addresses"
"""Key in the answer of `get_user_info`: beginnings of the addresses from which the user may use the site. It is missing if
the user has no IP restriction (`restrict_ip`)."""

ONLINE_HOOK, OFFLINE_HOOK = "realtime_user_online", "realtime_user_offline"
"""Hooks that an app names in its hooks.py: functions that a background job calls with a user who is online or offline now."""

ONLINE_HOOKS = "online_hooks"
"""Key in the answer of `get_user_info`: true if an app of the site has one of these hooks; missing otherwise."""

USERS_CHANGED = "users_changed"
"""The endpoint, after `METHOD_PREFIX`, to which the sidecar reports who is online and offline now: `{"online": [user, …], "offline": [user, …]}`."""

SHARED_HOOK = "realtime_shared_editing"
"""A hook that an app names in its hooks.py: by DocType, the functions `load` and `store` for shared documents."""

SHARED_LOAD, SHARED_STORE = "shared_load", "shared_store"
"""The endpoints, after `METHOD_PREFIX`, that call them: `{"doctype", "name", "field"}`, and `state` in base64 to store."""

MAX_USERS = 500
"""Users who are online, and users who are offline, in one request to `USERS_CHANGED`."""

MAX_QUESTIONS = 200
"""Questions, or users, in one request to an endpoint of permissions/endpoints.py."""
