"""Sites: which site a request is for, and which origins may connect to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from realtime.access import sites as module
from realtime.access.sites import Sites, hostname
from realtime.config import load
from realtime.socketio.errors import ConnectRefused

ONE, TWO = "one.test", "two.test"


def bench(folder: Path, *sites: str, site_config: Any = None, **keys: Any) -> Sites:
	"""Make a bench with these sites; the first has `site_config`."""
	for name in sites:
		path = folder / "sites" / name
		path.mkdir(parents=True)
		path.joinpath("site_config.json").write_text(
			json.dumps(site_config or {} if name == sites[0] else {})
		)
	folder.joinpath("sites/common_site_config.json").write_text(json.dumps(keys))
	return Sites(load(folder, {}))


def resolve(sites: Sites, namespace: str, proxied: bool = False, **headers: str) -> str:
	"""Return the site, or the message of the refusal."""
	try:
		return sites.resolve(
			namespace, {name.replace("_", "-"): value for name, value in headers.items()}, proxied
		)
	except ConnectRefused as refused:
		return refused.message


NAMESPACE, ORIGIN = "Invalid namespace", "Invalid origin"


@pytest.mark.parametrize(
	("headers", "proxied", "answer"),
	[
		({"host": ONE}, False, ONE),
		({"host": f"{ONE.upper()}:9000"}, False, ONE),
		({"host": TWO}, False, NAMESPACE),
		({"host": "other.test"}, False, NAMESPACE),
		({}, False, NAMESPACE),
		({"host": ONE, "origin": f"http://{ONE}:8000"}, False, ONE),
		# A proxy names the site, or the host.
		({"host": "x", "x_frappe_site_name": ONE}, True, ONE),
		({"host": "x", "x_frappe_site_name": TWO}, True, NAMESPACE),
		({"host": ONE, "x_frappe_site_name": TWO}, True, NAMESPACE),
		({"host": "x", "x_forwarded_host": f"{ONE}, y"}, True, ONE),
		({"host": "x", "x_forwarded_host": TWO}, True, NAMESPACE),
		({"host": "x", "x_forwarded_host": ONE, "origin": f"https://{ONE}"}, True, ONE),
		({"host": "x", "x_frappe_site_name": ONE, "origin": "https://evil.test"}, True, ORIGIN),
		({"host": "x", "x_frappe_site_name": ONE, "origin": "https://x"}, True, ONE),
		# Other peers do not.
		({"host": TWO, "x_frappe_site_name": ONE}, False, NAMESPACE),
		({"host": TWO, "x_forwarded_host": ONE}, False, NAMESPACE),
		({"host": ONE, "x_frappe_site_name": TWO, "x_forwarded_host": TWO}, False, ONE),
		# An Origin without a host, as of a sandboxed frame.
		({"host": ONE, "origin": "null"}, False, ORIGIN),
		({"host": ONE, "origin": f"https://{TWO}"}, False, ORIGIN),
		({"host": "x", "origin": f"https://{ONE}"}, False, ONE),
		({"host": "x", "origin": f"https://{ONE}"}, True, ONE),
		({"host": "x", "x_frappe_site_name": ONE, "origin": "null"}, True, ORIGIN),
		({"host": "x", "x_frappe_site_name": ONE, "origin": "file://"}, True, ORIGIN),
		({"host": ONE, "origin": ""}, False, ONE),
	],
)
def test_the_site_of_a_request(tmp_path: Path, headers: dict[str, str], proxied: bool, answer: str) -> None:
	assert resolve(bench(tmp_path, ONE, TWO), f"/{ONE}", proxied, **headers) == answer


@pytest.mark.parametrize(
	"namespace",
	["/three.test", "/", "/../one.test", "/one.test/", "/.", "/assets", "/\ud800", f"/{'a' * 300}"],
)
def test_namespaces_that_are_no_site(tmp_path: Path, namespace: str) -> None:
	sites = bench(tmp_path, ONE)
	(tmp_path / "sites/assets").mkdir()
	assert resolve(sites, namespace, host=ONE) == NAMESPACE


def test_a_site_with_capitals_in_its_name_is_the_one_that_the_proxy_names(tmp_path: Path) -> None:
	"""Frappe and Node take the header as it is, and browsers send a Host in lower case."""
	sites = bench(tmp_path, "One.test", TWO)
	headers = {"host": ONE, "origin": f"https://{ONE}"}
	assert resolve(sites, "/One.test", True, x_frappe_site_name="One.test", **headers) == "One.test"
	assert resolve(sites, "/One.test", True, x_frappe_site_name=TWO.upper(), **headers) == NAMESPACE
	assert resolve(sites, f"/{TWO}", True, x_frappe_site_name=TWO.upper(), host=TWO) == TWO


@pytest.mark.parametrize(
	("site_config", "host", "origin", "answer"),
	[
		({"host_name": "https://shop.test:8443"}, "shop.test", "https://shop.test", ONE),
		({"host_name": "shop.test"}, "shop.test", "", ONE),
		({"domains": ["shop.test", {"domain": "www.test"}, 7, {}]}, "www.test", "", ONE),
		({"domains": ["shop.test"]}, ONE, "https://shop.test", ONE),
		({"domains": None, "host_name": 7}, "shop.test", "", NAMESPACE),
		# Another site of the bench is never a name of this one.
		({"domains": [TWO]}, TWO, "", NAMESPACE),
	],
)
def test_other_names_of_a_site(tmp_path: Path, site_config: Any, host: str, origin: str, answer: str) -> None:
	sites = bench(tmp_path, ONE, TWO, site_config=site_config)
	assert resolve(sites, f"/{ONE}", host=host, origin=origin) == answer


def test_the_only_site_is_served_under_every_host(tmp_path: Path) -> None:
	sites = bench(tmp_path, ONE)
	assert resolve(sites, f"/{ONE}", host="192.0.2.1") == ONE
	assert resolve(sites, f"/{ONE}", host="192.0.2.1", origin="http://192.0.2.1:8000") == ONE
	assert resolve(sites, f"/{ONE}", host="x", proxied=True, x_frappe_site_name="y") == NAMESPACE


def test_the_default_site_is_served_under_hosts_that_are_no_site(tmp_path: Path) -> None:
	sites = bench(tmp_path, ONE, TWO, default_site=ONE)
	for host in ("localhost:9000", "127.0.0.1", "192.0.2.1"):
		assert resolve(sites, f"/{ONE}", host=host) == ONE
		assert resolve(sites, f"/{TWO}", host=host) == NAMESPACE
	assert resolve(sites, f"/{ONE}", host=TWO) == NAMESPACE


def test_allowed_origins(tmp_path: Path) -> None:
	sites = bench(tmp_path, ONE, TWO, realtime_allowed_origins=["https://app.test:3000"])
	for headers, proxied in (({"host": "x", "x_frappe_site_name": ONE}, True), ({"host": ONE}, False)):
		assert resolve(sites, f"/{ONE}", proxied, origin="https://app.test", **headers) == ONE
		assert resolve(sites, f"/{ONE}", proxied, origin="https://www.app.test", **headers) == ORIGIN
	assert resolve(sites, f"/{TWO}", host=ONE, origin="https://app.test") == NAMESPACE


@pytest.mark.parametrize(
	("headers", "proxied", "refused"),
	[
		({"sec_fetch_site": "cross-site", "origin": f"https://{ONE}", "host": ONE}, True, True),
		({"sec_fetch_site": "same-site", "origin": f"https://{ONE}", "host": ONE}, True, True),
		({"sec_fetch_site": "cross-site", "host": ONE}, True, True),
		({"sec_fetch_site": "same-origin", "origin": f"https://{ONE}", "host": ONE}, True, False),
		({"sec_fetch_site": "none", "host": ONE}, True, False),
		({"origin": f"https://{ONE}", "host": ONE}, True, False),
		({"sec_fetch_site": "cross-site", "origin": f"https://{ONE}", "host": ONE}, False, False),
		# The browser's own Origin: `resolve` has compared it.
		({"sec_fetch_site": "cross-site", "origin": "https://app.test", "host": ONE}, True, False),
		({"sec_fetch_site": "same-site", "origin": f"http://{ONE}:8000", "host": f"{ONE}:9000"}, True, False),
		({"sec_fetch_site": "same-site", "origin": f"http://{ONE}:9000", "host": f"{ONE}:9000"}, True, True),
	],
)
def test_a_proxy_that_hides_the_origin(
	tmp_path: Path, headers: dict[str, str], proxied: bool, refused: bool
) -> None:
	sites = bench(tmp_path, ONE)
	named = {name.replace("_", "-"): value for name, value in headers.items()}
	if refused:
		with pytest.raises(ConnectRefused, match=ORIGIN):
			sites.check_fetch_site(named, proxied)
	else:
		sites.check_fetch_site(named, proxied)


@pytest.mark.parametrize(
	("address", "host"),
	[
		("https://A.test:8000/x", "a.test"),
		("a.test:80", "a.test"),
		(" a.test ", "a.test"),
		("[2001:db8::1]:80", "2001:db8::1"),
		("http://[::1]", "::1"),
		("null", "null"),
		("", ""),
	],
)
def test_hostnames(address: str, host: str) -> None:
	assert hostname(address) == host


# -- the folder of sites


def test_sites_and_their_addresses(tmp_path: Path) -> None:
	sites = bench(tmp_path, TWO, ONE, site_config={"host_name": "https://shop.test/"})
	assert sites.names() == [ONE, TWO]
	assert sites.address(TWO) == "https://shop.test"
	assert sites.address(ONE) is None
	assert sites.address("three.test") is None


def test_a_new_site_and_a_dropped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	now = [0.0]
	monkeypatch.setattr(module, "monotonic", lambda: now[0])
	sites = bench(tmp_path, ONE)
	assert not sites.exists(TWO)
	bench(tmp_path, TWO)
	assert sites.exists(TWO)
	(tmp_path / f"sites/{TWO}/site_config.json").unlink()
	assert sites.exists(TWO), "for a second"
	now[0] = module.CACHE_SECONDS
	assert not sites.exists(TWO)


def test_a_changed_configuration_is_read_again(tmp_path: Path) -> None:
	sites = bench(tmp_path, ONE, site_config={"host_name": "a.test"})
	assert sites.address(ONE) == "http://a.test"
	file = tmp_path / f"sites/{ONE}/site_config.json"
	file.write_text('{"host_name": "b.test"}')
	os.utime(file, ns=(1, 1))
	assert sites.address(ONE) == "http://b.test"
	for content in ("[", "[]"):
		file.write_text(content)
		os.utime(file, ns=(2, 10 + len(content)))
		assert sites.address(ONE) is None


def test_a_configuration_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	sites = bench(tmp_path, ONE, site_config={"host_name": "a.test"})
	reads: list[str] = []
	loads = json.loads
	monkeypatch.setattr("json.loads", lambda text: reads.append(text) or loads(text))
	for _ in range(3):
		assert sites.address(ONE) == "http://a.test"
	assert len(reads) == 1


def test_requests_for_a_wrong_host_do_not_read_the_folder_each_time(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	sites = bench(tmp_path, ONE, TWO)
	reads: list[int] = []
	names = sites.names
	monkeypatch.setattr(sites, "names", lambda: reads.append(1) or names())
	for number in range(100):
		assert resolve(sites, f"/{ONE}", host=f"{number}.invalid") == NAMESPACE
	assert 1 <= len(reads) < 50


def test_long_addresses_are_not_kept() -> None:
	"""A client sends them, each up to the size of a request head."""
	before = module._hostname.cache_info().currsize
	assert hostname("a" * 10_000 + ":80") == "a" * 10_000
	assert hostname("http://" + "b" * 10_000) == "b" * 10_000
	assert module._hostname.cache_info().currsize == before
