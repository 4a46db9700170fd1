"""Whether a site has this app: what replaces or follows Frappe's own functions asks it at each call."""

from __future__ import annotations

import frappe

from .sender import ends_job

APP = "frappe_realtime"

_known: dict[str, bool] = {}
"""The last answer for each site, for the moments in which there is no database to ask."""


def is_installed() -> bool:
	"""Whether the site of this request, job or command has the app; asked once in each."""
	site = getattr(frappe.local, "site", None)
	if not site:
		return False
	answer = getattr(frappe.local, "frappe_realtime_installed", None)
	if answer is None or answer[0] != site:
		if not getattr(frappe.local, "db", None) or frappe.flags.in_install_db:
			return _known.get(site, False)
		try:
			answer = (site, APP in frappe.get_installed_apps())
		except Exception as error:
			if ends_job(error):
				raise
			return _known.get(site, False)
		frappe.local.frappe_realtime_installed = answer
		_known[site] = answer[1]
	return answer[1]
