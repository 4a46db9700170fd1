"""A session of Administrator for `frappe-realtime doctor`, which exists as long as this process.

Run as `python -m frappe_realtime.bench.session SITE` in the folder of sites: prints the session id, and deletes the session when
the standard input ends. No login happens: no hook of an app runs, other sessions of the user stay, and nothing is logged as
a login.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from ..contract.users import ADMINISTRATOR, SYSTEM_USER


def main() -> None:
	"""Make the session, wait for the end of the standard input, and delete the session."""
	import frappe
	import frappe.sessions
	from frappe.utils import set_request

	site = sys.argv[1]
	# What an app prints when it is imported must not be taken for the session id.
	with redirect_stdout(sys.stderr):
		frappe.init(site)
		frappe.connect()
		set_request(method="GET", path="/")
		frappe.local.request_ip = "127.0.0.1"
		frappe.local.form_dict = frappe._dict()
		session = frappe.sessions.Session(
			user=ADMINISTRATOR, resume=False, full_name=ADMINISTRATOR, user_type=SYSTEM_USER
		)
		frappe.db.commit()
	try:
		print(session.sid, flush=True)
		sys.stdin.read()
	finally:
		frappe.sessions.delete_session(session.sid, user=ADMINISTRATOR, reason="frappe-realtime doctor")
		frappe.db.commit()
		frappe.destroy()


if __name__ == "__main__":
	main()
