"""Whether the app is installed on the current site: on the others, Frappe publishes as it does without the app."""

from __future__ import annotations

import frappe

from .jobs import is_job_timeout

APP = "frappe_realtime"

_last_answers: dict[str, bool] = {}
"""The last answer for each site, used while there is no database to ask."""


def is_installed() -> bool:
	"""Return whether the app is installed on the current site.

	The database is asked once in each request, job or command. Without a database, or when it fails, the last answer of
	this process counts, and False if there is none.
	"""
	site = getattr(frappe.local, "site", None)
	if not site:
		return False
	answer = getattr(frappe.local, "frappe_realtime_installed", None)
	if answer is None or answer[0] != site:
		if not getattr(frappe.local, "db", None) or frappe.flags.in_install_db:
			return _last_answers.get(site, False)
		try:
			answer = (site, APP in frappe.get_installed_apps())
		except Exception as error:
			if is_job_timeout(error):
				raise
			return _last_answers.get(site, False)
		frappe.local.frappe_realtime_installed = answer
		_last_answers[site] = answer[1]
	return answer[1]
