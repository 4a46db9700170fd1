"""The Frappe context of handlers with `frappe_context=True`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frappe_context(site: str, user: str, sites_path: str) -> Iterator[None]:
	"""Connect Frappe to a site as a user; commit at the end, or roll back if the block raises.

	Blocks: it must run in a thread. What the block publishes is published as in a request, on sites with the app: kept in the history,
	and sent with the commit.

	Args:
		site: The name of the site.
		user: The user that Frappe's code runs as.
		sites_path: The absolute path of the folder of sites.
	"""
	import frappe

	from frappe_realtime.overrides import install_overrides

	install_overrides()
	frappe.init(site, sites_path=sites_path, force=True)
	try:
		frappe.connect(set_admin_as_user=False)
		frappe.set_user(user)
		yield
		frappe.db.commit()
	except BaseException:
		if getattr(frappe.local, "db", None):
			frappe.db.rollback()
		raise
	finally:
		frappe.destroy()


def set_sites_path(sites_path: str) -> None:
	"""Set `frappe.local.sites_path` in the current context, for handlers that initialise Frappe themselves."""
	frappe = sys.modules.get("frappe")
	if frappe is not None and hasattr(frappe, "local"):
		frappe.local.sites_path = sites_path
