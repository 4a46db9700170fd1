"""Benches behind a proxy that is set up wrongly."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser.conftest import sign_in
from tests.browser.diagnosis.broken.place import Breaks, Place, right
from tests.browser.diagnosis.diagnosing import WITHOUT_UPGRADE, changed
from tests.wire.bench import APP_SITE, STOCK_SITE
from tests.wire.conditions import free_port
from tests.wire.proxy import Proxy

breaks = Breaks()


def with_location(place: Place, location: str) -> Page:
	"""Open a page behind nginx with this location."""
	bench = place.shared()
	ports = {"port": bench.sidecar.port, "free_port": free_port(), "web_port": bench.web_port}
	return place.behind_nginx(bench, location.format(**ports))


@breaks("nginx without Upgrade")
def without_upgrade(place: Place) -> Page:
	return with_location(place, WITHOUT_UPGRADE)


@breaks("nginx with another Origin")
def another_origin(place: Place) -> Page:
	return with_location(place, changed("$http_origin", "https://wrong.test"))


@breaks("nginx without /socket.io")
def without_location(place: Place) -> Page:
	return with_location(place, "location /elsewhere {{ return 404; }}")


@breaks("nginx with another site")
def another_site(place: Place) -> Page:
	return with_location(place, changed("Site-Name app.test", "Site-Name other.test"))


@breaks("nginx passes to an old port")
def old_port(place: Place) -> Page:
	return with_location(place, changed("{port}", "{free_port}"))


@breaks("nginx passes to the web process")
def to_the_web_process(place: Place) -> Page:
	return with_location(place, changed("{port}", "{web_port}"))


@breaks("nginx names `default_site` for all hosts")
def default_site_for_all(place: Place) -> Page:
	return with_location(place, changed("Site-Name app.test", f"Site-Name {STOCK_SITE}"))


@breaks("the folder of the site has another name than the host")
def another_host(place: Place) -> Page:
	bench = place.bench(common={"default_site": None})
	nginx_page = place.behind_nginx(
		bench, right(bench).replace("proxy_set_header X-Frappe-Site-Name app.test;", "")
	)
	port = nginx_page.evaluate("location.port")
	page = place.window.new_page()
	page.goto(f'http://erp.test:{port}/desk.html?boot={{"sitename":"{APP_SITE}"}}')
	return page


@breaks("a proxy holds back answers to polling")
def held_back(place: Place) -> Page:
	bench = place.shared()
	proxy = Proxy(place.background, bench.sidecar.port, holds_polling=True)
	place.cleanup.callback(proxy.close)
	return place.at(bench, int(proxy.url.rpartition(":")[2]))


@breaks("the Desk has another port")
def desk_port(place: Place) -> Page:
	bench = place.shared()
	sign_in(place.window, bench, bench.user())
	nginx = place.behind_nginx(bench, "location /elsewhere {{ return 404; }}".format())
	port = nginx.evaluate("location.port")
	page = place.window.new_page()
	page.goto(
		f"http://{APP_SITE}:{port}/desk.html?dev_server=1&boot="
		f'{{"sitename":"{APP_SITE}","socketio_port":{free_port()}}}'
	)
	return page
