"""The cases by name, in the order of the table; each one measures one column on a new process of its server."""

from __future__ import annotations

from benchmarks.cases.access import permission, revocation
from benchmarks.cases.common import Case
from benchmarks.cases.connections import connect, polling, reconnect, start
from benchmarks.cases.events import in_flight, latency, mixed, one_user, saturated
from benchmarks.cases.publish import publish
from benchmarks.cases.recovery import recovery
from benchmarks.cases.tls import tls

CASES: dict[str, Case] = {
	case.__name__: case
	for case in (
		start,
		connect,
		polling,
		reconnect,
		recovery,
		one_user,
		in_flight,
		mixed,
		saturated,
		latency,
		publish,
		permission,
		revocation,
		tls,
	)
}
