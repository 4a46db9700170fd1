"""Frappe's cache of sessions, as the sidecar reads it: its place and its keys are Frappe's own, and not documented."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from realtime.access.session_cache import SessionCache
from realtime.access.sites import Sites
from realtime.config import load
from tests.bench.installation import Bench
from tests.bench.test_access import log_out


@pytest.mark.parametrize("with_app", [True, False])
def test_a_session_is_in_the_cache_from_the_login_to_the_logout(bench: Bench, with_app: bool) -> None:
	site, other = bench.site, bench.other_site
	if not with_app:
		site, other = other, site
	reader = bench.person("reader", site)

	def is_cached(site: str, sid: str) -> bool:
		async def ask() -> bool:
			cache = SessionCache(config, Sites(config))
			try:
				return await cache.has(site, sid)
			finally:
				cache.close()

		config = load(bench.root)
		# Playwright's event loop runs in this thread.
		with ThreadPoolExecutor(1) as pool:
			return pool.submit(asyncio.run, ask()).result()

	sid = bench.log_in(reader)
	assert is_cached(site, sid)
	assert not is_cached(other, sid)
	assert not is_cached(site, secrets.token_hex(28))
	log_out(bench, reader, sid, bench.inside("csrf_token", site=site, sid=sid))
	assert not is_cached(site, sid)
