"""The case of clients that recover: the cost by the number of events that they have missed."""

from __future__ import annotations

from benchmarks.cases.common import Figures, Setup, settle
from benchmarks.columns import NODE
from frappe_realtime.contract.rooms import SITE_ROOM

MISSED = (0, 10, 1000)
"""Events that each client has missed."""

BATCH = 100
"""Events that are published together."""


def recovery(setup: Setup) -> Figures:
	"""Measure µs of server CPU per recovery; of the other servers, for Node with its connection state recovery."""
	if not (setup.column.has_app or setup.column.name == NODE):
		return {}
	figures: Figures = {}
	count = setup.scale.recovering
	publisher = setup.publisher()
	event = publisher.event(SITE_ROOM, 100)
	with setup.warm_server(RECOVERY="1") as (server, load):
		# Node forgets the sessions of a site when its last client leaves.
		staying = setup.load(server)
		staying.connect(1)
		load.connect(count)
		for missed in (MISSED[1], *MISSED):
			# Node sends an offset with events only.
			load.reset()
			publisher.publish(event)
			load.wait_for(count)
			settle(server)
			load.drop()
			settle(server)
			for sent in range(0, missed, BATCH):
				publisher.publish(event, min(BATCH, missed - sent))
			settle(server)
			load.reset()
			before = server.cpu()
			load.connect(count)
			load.wait_for(count * missed)
			settle(server)
			# The first time is the warm-up.
			figures[f"recovery_us_{missed}"] = (server.cpu() - before) / count * 1e6
			load.check_recovered(count)
			load.check_count(count * missed)
		staying.drop()
	return {f"recovery_us_{missed}": figures[f"recovery_us_{missed}"] for missed in MISSED}
