"""The files outside this package that the demo uses, in a clone of the repository and in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root of the repository, or the folder that contains the installed packages."""

PACKAGE_JSON = Path(__file__).with_name("package.json")
"""The app's package.json. The file here is a link to the one at the root; the wheel contains a copy."""

_WHEEL_EXAMPLES = Path(__file__).with_name("examples")
_IS_WHEEL = _WHEEL_EXAMPLES.is_dir()

EXAMPLES = _WHEEL_EXAMPLES if _IS_WHEEL else ROOT / "examples"
"""The example apps. `[tool.hatch.build.targets.wheel.sources]` in pyproject.toml moves them here in the wheel."""


def cache_folder() -> Path:
	"""Return the folder for downloaded files: `.cache` of the repository, else the user's cache folder."""
	if not _IS_WHEEL:
		return ROOT / ".cache"
	return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frappe-realtime"
