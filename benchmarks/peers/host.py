"""A process that could have `stock.py` in it: the same event loop, HTTP server and Redis client, without Socket.IO."""

from __future__ import annotations

import asyncio
import os

import redis.asyncio
import uvloop
from aiohttp import web


async def main() -> None:
	runner = web.AppRunner(web.Application(), access_log=None)
	await runner.setup()
	await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"])).start()
	await redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]).ping()
	await asyncio.Event().wait()


if __name__ == "__main__":
	uvloop.install()
	asyncio.run(main())
