"""What the page /tasks gets from the site."""

import frappe
from frappe.sessions import get_csrf_token
from frappe.utils import get_build_version

no_cache = 1


def get_context(context: frappe._dict) -> None:
	user = frappe.session.user
	if user == "Guest":
		frappe.local.flags.redirect_location = "/login?redirect-to=/tasks"
		raise frappe.Redirect(302)
	# A new session has none yet; Frappe writes it in place of the comment in tasks.html.
	get_csrf_token()
	context.version = get_build_version()
	context.team_tasks = {
		"user": user,
		"full_name": frappe.utils.get_fullname(user),
		"can_write": bool(frappe.has_permission("Team Task", "write")),
	}
