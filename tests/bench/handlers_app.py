"""An app with handlers that is installed on the site of a bench for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.installation import Bench

HOOKS = """
app_name = "{app}"
app_title = "{app}"
app_publisher = app_description = app_email = app_license = "-"
"""


@contextmanager
def app_with_handlers(bench: Bench, app: str, handlers: str) -> Iterator[None]:
	"""Install an app on the site with the app, and start the processes of the bench again that import apps; undo it in the end.

	Args:
		bench: The bench.
		app: The name of the app.
		handlers: The text of its `realtime/handlers.py`.
	"""
	(site_packages,) = bench.root.glob("env/lib/python3*/site-packages")
	link = site_packages.relative_to(bench.root) / f"{app}.pth"
	folder = bench.root / "apps" / app
	with bench.kept(f"apps/{app}", str(link), "sites/apps.txt", "sites/apps.json"):
		package = folder / app
		(package / "realtime").mkdir(parents=True)
		(package / "__init__.py").write_text('__version__ = "1.0"\n')
		(package / "hooks.py").write_text(HOOKS.format(app=app))
		for name in ("modules.txt", "patches.txt"):
			(package / name).touch()
		(package / "realtime" / "handlers.py").write_text(handlers)
		# What `pip install --editable` writes, without a build.
		(bench.root / link).write_text(f"{folder}\n")
		apps = bench.sites / "apps.txt"
		apps.write_text(f"{apps.read_text().rstrip()}\n{app}\n")
		try:
			bench.bench("--site", bench.site, "install-app", app)
			_restart(bench)
			yield
		finally:
			bench.bench("--site", bench.site, "uninstall-app", "--yes", "--no-backup", "--force", app)
	_restart(bench)


def _restart(bench: Bench) -> None:
	for process in (bench.sidecar, bench.worker, bench.web):
		process.stop()
	bench.start_processes()
