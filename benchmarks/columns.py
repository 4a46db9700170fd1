"""The columns of the table: which server is measured, on which kind of site, and with which publisher."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from benchmarks.client import PLAIN_SITE, SITE

OURS, PLAIN, NODE, BUN, STOCK, FLOOR = "ours", "plain", "node", "bun", "stock", "floor"


@dataclass(frozen=True, slots=True)
class Column:
	"""One column.

	Attributes:
		name: Its heading.
		site: The site that the clients connect to.
		has_app: Whether the app is installed on the site, so that events have offsets and clients recover.
		has_polling: Whether the server has the long-polling transport.
		has_permissions: Whether the server knows subscriptions to documents, and asks the web process about them.
		share: The part of the deliveries that is enough for a figure, for a server that takes long.
	"""

	name: str
	site: str = SITE
	has_app: bool = False
	has_polling: bool = True
	has_permissions: bool = True
	share: float = 1.0


COLUMNS = {
	column.name: column
	for column in (
		Column(OURS, has_app=True),
		Column(PLAIN, PLAIN_SITE),
		Column(NODE),
		Column(BUN),
		# A delivery of this server costs ten times as much, so fewer of them are enough.
		Column(STOCK, share=0.2),
		Column(FLOOR, has_polling=False, has_permissions=False),
	)
}


def missing(name: str) -> str:
	"""Return why a column cannot be measured on this machine; empty if it can."""
	if name == FLOOR and shutil.which("cc") is None:
		return "there is no C compiler (cc)"
	return ""
