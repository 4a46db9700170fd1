"""The case of TLS: connects and deliveries through nginx, as in production."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cases.common import WARM_UP, Figures, Setup, settle
from benchmarks.columns import BUN, NODE, OURS
from benchmarks.load import Load
from benchmarks.servers import SERVER_CORE, Server, cpu_of, free_port, wait_for_port
from frappe_realtime.contract.rooms import SITE_ROOM

MEASURED = (OURS, NODE, BUN)

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
	access_log off;
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	server {{
		listen 127.0.0.1:{port} ssl backlog=4096;
		ssl_certificate {folder}/certificate.pem;
		ssl_certificate_key {folder}/key.pem;
		location /socket.io {{
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header X-Frappe-Site-Name {site};
			proxy_set_header Origin $scheme://$http_host;
			proxy_set_header Host $host;
			proxy_pass http://127.0.0.1:{server_port};
		}}
	}}
}}
"""
"""The location is that of the configuration which `bench setup nginx` writes."""


def missing() -> str:
	"""Return why the case cannot run on this machine; empty if it can."""
	absent = [name for name in ("nginx", "openssl") if shutil.which(name) is None]
	return f"{' and '.join(absent)} not installed" if absent else ""


def tls(setup: Setup) -> Figures:
	"""Measure µs of CPU of the server, and of nginx, per connect over TLS and per delivery."""
	if setup.column.name not in MEASURED or missing():
		return {}
	count = setup.scale.tls
	with setup.server() as server, _nginx(setup, server) as (proxy, port):
		context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
		# The certificate is that of a test.
		context.check_hostname = False
		context.verify_mode = ssl.CERT_NONE
		load = Load(port, setup.site, offset_event=setup.column.has_app, tls=context)
		load.connect(WARM_UP)
		load.drop(keep=False)
		settle(server)

		def cpu() -> tuple[float, float]:
			return server.cpu(), cpu_of(proxy.pid)

		before = cpu()
		load.connect(count)
		settle(server)
		after = cpu()
		figures = {
			"tls_connect_us": (after[0] - before[0]) / count * 1e6,
			"tls_connect_nginx_us": (after[1] - before[1]) / count * 1e6,
		}
		publisher = setup.publisher()
		event = publisher.event(SITE_ROOM, 100)
		events = max(10, setup.scale.deliveries // 4 // count)
		for rounds in (max(5, events // 10), events):
			load.reset()
			before = cpu()
			for number in range(1, rounds + 1):
				publisher.publish(event)
				load.wait_for(number * count)
		after = cpu()
		load.check_count(events * count)
		load.drop()
		return {
			**figures,
			"tls_delivery_us": (after[0] - before[0]) / (events * count) * 1e6,
			"tls_delivery_nginx_us": (after[1] - before[1]) / (events * count) * 1e6,
		}


@contextmanager
def _nginx(setup: Setup, server: Server) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
	"""Run nginx with TLS before `server` for the time of the block; yield its process and its port."""
	with tempfile.TemporaryDirectory() as name:
		folder, port = Path(name), free_port()
		subprocess.run(
			(
				"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
				f"-subj /CN={setup.site} -keyout {folder}/key.pem -out {folder}/certificate.pem"
			).split(),
			check=True,
			capture_output=True,
		)
		config = folder / "nginx.conf"
		user = "user root;" if os.geteuid() == 0 else ""
		config.write_text(
			user + CONFIG.format(folder=folder, port=port, site=setup.site, server_port=server.port)
		)
		process = subprocess.Popen(
			["nginx", "-c", str(config), "-p", str(folder)],
			preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
		)
		try:
			wait_for_port(port, process)
			yield process, port
		finally:
			process.terminate()
			process.wait()
