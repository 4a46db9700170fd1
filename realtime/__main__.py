"""The command line `frappe-realtime`: serve, publish, listen, top, doctor and demo."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import sys
from typing import TYPE_CHECKING

from frappe_realtime import __version__

from .config import EXIT_CONFIG, Config, ConfigError, find_bench, load
from .config_parsers import integer, worker_count
from .log_format import set_up_log

if TYPE_CHECKING:
	from collections.abc import Callable

	from aiohttp.web import AppRunner

	from .server import RealtimeServer
	from .workers.worker import Reporter, Worker

logger = logging.getLogger("realtime.main")

MAX_DESCRIPTORS = 1 << 20
"""The highest limit of open files that is requested; some containers allow billions."""

EXIT_INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ends before its work is done; shells use the same."""


def main(arguments: list[str] | None = None) -> None:
	"""Run one command.

	Exits with 0, with 1 if the command failed, with 2 for wrong usage, with 130 after Ctrl-C, or with the exit code of a
	`ConfigError`.

	Args:
		arguments: The arguments after the program's name; by default those of the process.
	"""
	options = _parser().parse_args(arguments)
	try:
		options.run(options)
	except ConfigError as error:
		print(f"frappe-realtime: {error}", file=sys.stderr)
		sys.exit(error.exit_code)
	except KeyboardInterrupt:
		sys.exit(EXIT_INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
	parser = argparse.ArgumentParser(
		prog="frappe-realtime", description="The realtime server for Frappe sites."
	)
	parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
	commands = parser.add_subparsers(required=True, metavar="COMMAND")

	serve = commands.add_parser("serve", help="serve the sites of a bench")
	_add_bench(serve)
	serve.add_argument("--host", help="address to listen on (key realtime_host)")
	serve.add_argument("--port", type=_port, help="port to listen on (key socketio_port)")
	serve.add_argument("--uds", help="Unix socket to listen on (key socketio_uds)")
	serve.add_argument(
		"--log-format", choices=("text", "json"), help="format of the log (key realtime_log_format)"
	)
	serve.add_argument(
		"--workers",
		type=_worker_count,
		metavar="N",
		help="worker processes that share the port, or auto: one for each core (key socketio_workers)",
	)
	serve.add_argument(
		"--check", action="store_true", help="import everything, check the configuration, and exit"
	)
	# What a supervisor tells the check before it lets this program replace it.
	serve.add_argument("--replaces", help=argparse.SUPPRESS)
	serve.set_defaults(run=_serve)

	publish = commands.add_parser("publish", help="publish an event")
	_add_bench(publish)
	publish.add_argument("event", metavar="EVENT", type=_not_empty)
	publish.add_argument("message", metavar="JSON", nargs="?", default="{}")
	publish.add_argument("--site", required=True)
	target = publish.add_mutually_exclusive_group()
	target.add_argument("--user", type=_not_empty, help="send to all sockets of one user")
	target.add_argument(
		"--room", type=_not_empty, help="send to one room, named as in frappe.publish_realtime"
	)
	publish.set_defaults(run=_publish)

	listen = commands.add_parser(
		"listen",
		help="print the events of a site as they arrive",
		description="Print the events of a site as they arrive, one line each, until Ctrl-C. Without --user and --token, connect "
		"as a Guest.",
	)
	_add_bench(listen)
	listen.add_argument(
		"--site", type=_not_empty, help="the site (default: default_site, or the only site of the bench)"
	)
	who = listen.add_mutually_exclusive_group()
	who.add_argument(
		"--user",
		type=_not_empty,
		help="print what is published to this user: from Redis, without permission checks, for operators of the bench",
	)
	who.add_argument(
		"--token", metavar="KEY:SECRET", type=_api_key, help="connect with an API key and its secret"
	)
	listen.add_argument(
		"--room",
		type=_not_empty,
		help="listen to this room too: doc:DOCTYPE/NAME, open_doc:DOCTYPE/NAME, doctype:DOCTYPE or task_progress:ID",
	)
	listen.add_argument(
		"--json", action="store_true", help="print JSON lines (default unless the output is a terminal)"
	)
	listen.set_defaults(run=_listen)

	top = commands.add_parser(
		"top",
		help="show what the sidecars of the bench do",
		description="Show sites, users, rooms, rates, latency, processes, events and incidents of the bench every 2 seconds, until "
		"Ctrl-C. Asks the sidecars through the Redis of the bench.",
	)
	_add_bench(top)
	top.add_argument("--once", action="store_true", help="show it once")
	top.add_argument("--json", action="store_true", help="print JSON lines")
	top.set_defaults(run=_top)

	doctor = commands.add_parser("doctor", help="find out why realtime does not work")
	_add_bench(doctor)
	doctor.add_argument("--site", help="check this site only")
	doctor.add_argument("--json", action="store_true", help="print one JSON object")
	doctor.add_argument(
		"--fix",
		action="store_true",
		help="correct keys of common_site_config.json whose right value is certain; the file is kept, and the command to undo is printed",
	)
	doctor.set_defaults(run=_doctor)

	demo = commands.add_parser("demo", help="show a demo in the browser; needs no bench")
	demo.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
	demo.add_argument("--port", type=_port, help="port of the page (the first free one from 8090 on)")
	demo.add_argument("--no-browser", action="store_true", help="do not open the page")
	demo.set_defaults(run=_demo)
	return parser


def _add_bench(parser: argparse.ArgumentParser) -> None:
	parser.add_argument(
		"--bench",
		metavar="PATH",
		help="bench root (default: FRAPPE_BENCH_ROOT, else the bench that the app is in)",
	)


def _worker_count(text: str) -> int:
	try:
		return worker_count(text)
	except ValueError as error:
		raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
	try:
		return integer(0, 65535)(text)
	except ValueError as error:
		raise argparse.ArgumentTypeError(str(error)) from error


def _not_empty(text: str) -> str:
	"""Refuse what an unset variable of a script leaves: an event for the user "" would go to all System Users."""
	if not text:
		raise argparse.ArgumentTypeError("it is empty")
	return text


def _api_key(text: str) -> str:
	key, _, secret = text.partition(":")
	if not (key and secret and text.isascii() and text.isprintable()):
		raise argparse.ArgumentTypeError("an API key and its secret, as KEY:SECRET")
	return text


def _config(options: argparse.Namespace, **overrides: object) -> Config:
	config = load(find_bench(options.bench), overrides=overrides)
	set_up_log(config.realtime_log_level, config.realtime_log_format)
	return config


def _serve(options: argparse.Namespace) -> None:
	config = _config(
		options,
		realtime_host=options.host,
		socketio_port=options.port,
		socketio_uds="" if options.port is not None and not options.uds else options.uds,
		socketio_workers=options.workers,
		realtime_log_format=options.log_format,
	)
	if options.check:
		_check(config, options.replaces)
		return
	logger.info("frappe-realtime %s on Python %d.%d.%d", __version__, *sys.version_info[:3])
	_raise_descriptor_limit()
	from .workers.notify import Notifier
	from .workers.slots import inherited

	state = inherited()
	if config.socketio_workers == 1 and state is None:
		_run(config, Notifier())
		return
	_import_everything()
	from .workers.supervisor import Supervisor

	def serve(worker: Worker) -> int:
		set_up_log(config.realtime_log_level, config.realtime_log_format, worker.slot)
		try:
			_run(config.for_one_of(worker.count), worker, worker)
		except ConfigError as error:
			logger.error("%s", error)
			return error.exit_code
		finally:
			worker.remove_folder()
		return 0

	sys.exit(Supervisor(config, serve, Notifier(), state).run())


def _run(config: Config, reporter: Reporter, worker: Worker | None = None) -> None:
	"""Serve in this process until it is told to end."""
	# The imports leave no garbage that is worth a collection, and would cause many.
	gc.disable()
	import uvloop

	from .server import RealtimeServer

	async def serve() -> None:
		await RealtimeServer(config, _load_pages, worker).run(reporter)

	# Clients and events create no reference cycles, so frequent full collections would only cost time.
	gc.freeze()
	gc.set_threshold(10_000, 20, 50)
	gc.enable()

	if sys.version_info >= (3, 11):
		with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
			runner.run(serve())
	else:
		uvloop.install()
		asyncio.run(serve())


def _load_pages() -> Callable[[RealtimeServer], AppRunner]:
	from .operations.endpoints import pages

	return pages


def _import_everything() -> None:
	"""Import what a worker needs, so that the workers share its memory."""
	import uvloop  # noqa: F401

	from . import server  # noqa: F401
	from .operations import endpoints, metrics  # noqa: F401


def _check(config: Config, replaces: str | None) -> None:
	"""Exit with an error if `serve` could not start, or if it cannot take over from the supervisor that has asked."""
	_import_everything()
	from .listener import address_of
	from .workers.slots import check_replaces

	if replaces and (reason := check_replaces(replaces, address_of(config))):
		raise ConfigError(f"{reason}; restart it instead", EXIT_CONFIG)
	print("the program and the configuration are valid")


def _raise_descriptor_limit() -> None:
	"""Raise the soft limit of open files, which is 1024 on many systems; Node raises it too."""
	soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	limit = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
	if soft != resource.RLIM_INFINITY and soft < limit:
		try:
			resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
		except (ValueError, OSError) as error:
			# The system may have a lower limit of its own: fs.nr_open of Linux, kern.maxfilesperproc of macOS.
			logger.warning("the limit of open files stays %d, %d is refused: %s", soft, limit, error)


def _publish(options: argparse.Namespace) -> None:
	from .operations.publish import publish

	publish(_config(options), options.site, options.event, options.message, options.user, options.room)


def _listen(options: argparse.Namespace) -> None:
	from .operations.listen import listen

	listen(_config(options), options.site, options.user, options.token, options.room, as_json=options.json)


def _top(options: argparse.Namespace) -> None:
	from .operations.top import top

	top(_config(options), options.once, options.json)


def _doctor(options: argparse.Namespace) -> None:
	from .operations.doctor import doctor
	from .operations.terminal import discard_output

	try:
		doctor(_config(options), options.site, as_json=options.json, fix=options.fix)
	except BrokenPipeError:
		# As in `doctor | head -1`.
		discard_output()
		sys.exit(1)


def _demo(options: argparse.Namespace) -> None:
	from .demo.run import run

	run(options.host, options.port, open_browser=not options.no_browser)


if __name__ == "__main__":
	main()
