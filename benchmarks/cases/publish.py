"""The case of the web process: what a publish costs it, and the time from its call until the client has the event."""

from __future__ import annotations

import time

from benchmarks.cases.common import Figures, Setup, percentile, settle
from benchmarks.client import MARK
from benchmarks.columns import FLOOR
from benchmarks.web_process import app_publish, frappe_publish

CLIENTS = 100


def publish(setup: Setup) -> Figures:
	"""Measure messages to one user at a time, published by the function that the web process of the site has.

	The figures are µs of CPU of the publishing process for a call, and milliseconds from the call to the receipt.
	"""
	if setup.column.name == FLOOR:
		# The C program reads JSON without spaces only, and Frappe writes spaces.
		return {}
	make = app_publish if setup.column.has_app else frappe_publish
	call = make(setup.site, setup.redis_url)
	message = {"mark": MARK.decode(), "text": "x" * 70}
	cpu = 0.0
	times: list[float] = []
	with setup.warm_server() as (server, load):
		load.connect(CLIENTS)
		settle(server)
		for count in (setup.scale.publishes // 10, setup.scale.publishes):
			load.reset()
			cpu = 0.0
			times.clear()
			for number in range(1, count + 1):
				before, called = time.process_time(), time.perf_counter()
				call("bench", message, f"user{number % CLIENTS}@example.com")
				cpu += time.process_time() - before
				while load.received < number:
					# Does not take the core from Redis while nothing has arrived.
					load.poll(10, times)
				times[-1] = (times[-1] - called) * 1e3
		load.check_count(count)
	return {
		"publish_us": cpu / count * 1e6,
		"way_p50_ms": percentile(times, 0.5),
		"way_p99_ms": percentile(times, 0.99),
	}
