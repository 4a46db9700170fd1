"""Takes the pictures of docs/monitoring.md; run by script/screenshots."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.bench.apps import installed, write_app
from tests.bench.desk import open_desk, origin, set_theme
from tests.bench.installation import INSIDE, Bench, NotSuitable, Person
from tests.bench.processes import Process
from tests.wire.background import Background
from tests.wire.browser import NoChromium, chromium
from tests.wire.clients import POLLING, WEBSOCKET, Client, Refused

FIRST_NAMES = (
	"ann",
	"bob",
	"carla",
	"dev",
	"ella",
	"farid",
	"gita",
	"hugo",
	"ida",
	"jon",
	"kim",
	"lena",
	"max",
	"nora",
	"omar",
)
LAST_NAMES = ("berg", "costa", "singh", "wood")
DOCTYPES = ("ToDo", "Note", "User", "File", "Event", "Communication")
EVENTS_PER_SECOND = 10
MANY_EVENTS = 3000
"""More than a client may send at once (`realtime_events_per_second`), and fewer than would close its connection."""
PICTURES = {
	# By name: theme, width and height of the window.
	"light": ("light", 1280, 1900),
	"dark": ("dark", 1280, 1900),
	"phone": ("light", 390, 844),
	"phone-dark": ("dark", 390, 844),
}
MANY_ROWS = 1000
"""Pixels of a window in which the handlers are not seen without scrolling."""
CHAT = "chat"
CHAT_HANDLERS = """
import asyncio

from frappe_realtime import realtime


@realtime.on("typing")
def typing(socket, message):
	pass


@realtime.on("say")
async def say(socket, message):
	await asyncio.sleep(0.002)


@realtime.on("search")
async def search(socket, message):
	if not message["text"]:
		raise ValueError("the text is empty")
"""


@contextlib.contextmanager
def chat(bench: Bench, folder: Path) -> Iterator[None]:
	"""Install the app whose handlers are called."""
	write_app(folder / CHAT, CHAT, {"realtime/handlers.py": CHAT_HANDLERS})
	with installed(bench, folder / CHAT):
		yield


def main() -> int:
	"""Take the pictures; return the exit code."""
	parser = argparse.ArgumentParser(description=__doc__)
	parser.add_argument("--clients", type=int, default=500)
	parser.add_argument("--seconds", type=int, default=300, help="of load before the pictures are taken")
	parser.add_argument("--folder", type=Path, default=Path("docs/images"))
	options = parser.parse_args()
	root = os.environ.get("FRAPPE_BENCH_ROOT")
	if not root:
		print("FRAPPE_BENCH_ROOT names no bench", file=sys.stderr)
		return 2
	options.folder.mkdir(parents=True, exist_ok=True)
	try:
		with (
			tempfile.TemporaryDirectory() as apps,
			running_bench(Path(root)) as bench,
			chat(bench, Path(apps)),
			chromium("--host-resolver-rules=MAP * 127.0.0.1") as browser,
			team(bench) as people,
			connected_clients(bench, people, options.clients),
			load(bench, people),
			calls(bench, people),
		):
			time.sleep(options.seconds)
			take_pictures(bench, browser, options.folder)
	except (NotSuitable, NoChromium) as reason:
		print(reason, file=sys.stderr)
		return 1
	return 0


@contextlib.contextmanager
def running_bench(root: Path) -> Iterator[Bench]:
	"""A bench with all its processes; they are stopped in the end."""
	with tempfile.TemporaryDirectory() as logs:
		bench = Bench(root.resolve(), Path(logs))
		try:
			bench.start()
			yield bench
		finally:
			bench.close()


@contextlib.contextmanager
def calls(bench: Bench, people: list[Person]) -> Iterator[None]:
	"""Clients that call the handlers of the app `chat` again and again."""
	stopped = threading.Event()
	background = Background()
	clients = [connect(bench, background, person, index) for index, person in enumerate(people[:3])]

	def call() -> None:
		while not stopped.wait(0.3):
			for number, client in enumerate(clients):
				client.emit("typing", {"channel": "general"})
				client.emit("say", {"channel": "general", "text": "Good morning"})
				if number == 0:
					client.emit("search", {"text": ""})

	thread = threading.Thread(target=call)
	thread.start()
	try:
		yield
	finally:
		stopped.set()
		thread.join()
		for client in clients:
			client.close()
		background.close()


@contextlib.contextmanager
def team(bench: Bench) -> Iterator[list[Person]]:
	"""System Users with names of example.com, who are removed in the end."""
	users = [f"{first}.{last}@example.com" for last in LAST_NAMES for first in FIRST_NAMES]
	tokens = bench.inside("make_team", users=users)
	try:
		yield [Person(bench.site, user, token, "") for user, token in tokens.items()]
	finally:
		bench.inside("remove_team", users=users)


@contextlib.contextmanager
def connected_clients(bench: Bench, people: list[Person], number: int) -> Iterator[None]:
	"""Clients of these people, most of them over WebSocket, in the rooms of lists and documents."""
	background = Background()
	clients = []
	try:
		for index in range(number):
			# Some have many tabs, most have a few.
			person = people[int(len(people) * (index / number) ** 2)]
			clients.append(connect(bench, background, person, index))
			clients[-1].emit("doctype_subscribe", DOCTYPES[index % 7 % len(DOCTYPES)])
			clients[-1].emit("doc_subscribe", "User", person.name)
			if index % 3 == 0:
				clients[-1].emit("doc_open", "User", people[index % len(people)].name)
		cause_incidents(bench, background, people, clients[0])
		yield
	finally:
		for client in clients:
			client.close()
		background.close()


def connect(bench: Bench, background: Background, person: Person, index: int, **headers: str) -> Client:
	"""Connect a client, few of them by long-polling."""
	return Client(
		background,
		f"http://{bench.site}:{bench.port}",
		f"/{bench.site}",
		bench.headers(person, f"token {person.token}", User_Agent=user_agent(index), **headers),
		POLLING if index % 40 == 39 else WEBSOCKET,
	).connect()


def cause_incidents(bench: Bench, background: Background, people: list[Person], client: Client) -> None:
	"""Let the sidecar refuse a client from another site, and let a client send more events than it may."""
	for index in range(3):
		with contextlib.suppress(Refused):
			connect(bench, background, people[7], index, Origin="https://shop.example.net")
	for _ in range(MANY_EVENTS):
		client.emit("scroll", {})


def user_agent(index: int) -> str:
	"""Return the User-Agent of a browser."""
	systems = ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7")
	return f"Mozilla/5.0 ({systems[index % 3]}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"


@contextlib.contextmanager
def load(bench: Bench, people: list[Person]) -> Iterator[None]:
	"""Events as those of a working day, published by a process of the bench."""
	users = [person.name for person in people]
	arguments = json.dumps({"users": users, "doctypes": DOCTYPES, "rate": EVENTS_PER_SECOND})
	command = [bench.python, INSIDE, bench.site, "publish_load", arguments]
	publisher = Process(command, bench.sites, Path(os.devnull))
	publisher.start()
	try:
		yield
	finally:
		publisher.stop()


def take_pictures(bench: Bench, browser: Browser, folder: Path) -> None:
	"""Open the page and save its pictures."""
	person = bench.person()
	window = browser.new_context(viewport={"width": 1280, "height": 900})
	window.add_init_script("Object.defineProperty(navigator, 'onLine', { get: () => true })")
	window.add_cookies([{"name": "sid", "value": bench.log_in(person), "domain": bench.site, "path": "/"}])
	page = open_desk(bench, window, origin(bench, bench.site), "realtime")
	for name, (theme, width, height) in PICTURES.items():
		page.set_viewport_size({"width": width, "height": height})
		# The Desk decides when it is loaded whether the window is narrow.
		page.reload(wait_until="domcontentloaded")
		page.locator(".realtime-events tbody tr").nth(3).wait_for()
		page.locator(".realtime-handlers tbody tr").nth(2).wait_for()
		set_theme(page, theme)
		# The page measures the round trip anew when it has been drawn.
		page.wait_for_timeout(12_000)
		page.get_by_role("button", name="Send Test Event").click()
		page.get_by_text("Test event:").wait_for()
		page.locator(".desk-alert").wait_for(state="detached")
		if height < MANY_ROWS:
			page.locator(".realtime-handlers").scroll_into_view_if_needed()
		save_picture(page, folder, f"monitoring-v{bench.version}-{name}")
	set_theme(page, "light")
	page.set_viewport_size({"width": 1280, "height": 900})
	page.reload(wait_until="domcontentloaded")
	page.get_by_role("button", name=f"{FIRST_NAMES[-1]}.{LAST_NAMES[-1]}@example.com").click()
	page.locator(".modal.show .realtime-socket").first.wait_for()
	page.wait_for_timeout(1000)
	save_picture(page, folder, f"monitoring-v{bench.version}-user")


def save_picture(page: Page, folder: Path, name: str) -> None:
	"""Save a picture of a page, and print its path."""
	path = folder / f"{name}.png"
	page.screenshot(path=path)
	print(path)


if __name__ == "__main__":
	sys.exit(main())
