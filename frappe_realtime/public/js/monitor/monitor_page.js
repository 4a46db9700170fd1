// The page: it wires the feed of the sidecars to the tiles, charts and tables.

import { Charts } from "./charts.js";
import { Dialogs } from "./dialogs.js";
import { element } from "./dom.js";
import { Feed } from "./feed.js";
import { milliseconds } from "./format.js";
import { History } from "./history.js";
import { Notice } from "./notice.js";
import { make_tables } from "./tables.js";
import { send_test_event } from "./test_event.js";
import { Tiles } from "./tiles.js";

// Milliseconds before the first measurement of the round trip, when the page has been drawn, and between two of them.
const FIRST_PING_AFTER = 1500;
const PING_EVERY = 10_000;

/** The Desk page "Realtime". */
export class MonitorPage {
	/** @param {HTMLElement} wrapper the element of the Desk's page */
	constructor(wrapper) {
		this._wrapper = wrapper;
		this._page = wrapper.page;
		this._feed = new Feed(frappe.realtime, {
			on_state: (state, error) => this._show_state(state, error),
			on_history: (history) => this._show_history(history),
			on_snapshot: (snapshot) => this._show_snapshot(snapshot),
		});
		this._dialogs = new Dialogs(this._feed);
		this._history = new History();
		this._charts_are_stale = true;
		this._notice = new Notice();
		this._tiles = new Tiles();
		this._charts = new Charts();
		this._tables = make_tables({
			show_user: (user) => this._dialogs.show_user(user),
			show_room: (room) => this._dialogs.show_room(room),
		});
		this._content = element(
			"div",
			{ class: "realtime-content", hidden: "" },
			this._tiles.element,
			this._charts.element,
			element("div", { class: "realtime-tables" }, ...this._tables.map((table) => table.element))
		);
		this._ping_timer = null;
		const monitor = element("div", { class: "realtime-monitor" }, this._notice.element, this._content);
		this._page.main[0].append(monitor);
		if (has_gutter(this._page.main[0])) monitor.classList.add("realtime-in-gutter");
		const send = __("Send Test Event");
		// In a narrow window the Desk shows the icon only.
		this._page.set_primary_action(send, () => this._send_test_event(), "es-line-zap").attr("aria-label", send);
		this._page.add_menu_item(__("Find User"), () => this._find_user());
		this._follow_visibility();
	}

	_follow_visibility() {
		// The Desk triggers `hide` before it changes `frappe.container.page`.
		let is_shown = frappe.container.page === this._wrapper;
		const follow = () => {
			if (is_shown && document.visibilityState === "visible") this._start();
			else this._stop();
		};
		$(this._wrapper).on("show hide", (event) => {
			// Bootstrap's events of a menu in the page bubble.
			if (event.target !== this._wrapper) return;
			is_shown = event.type === "show";
			follow();
		});
		document.addEventListener("visibilitychange", follow);
		follow();
	}

	_start() {
		this._feed.start();
		this._ping_after(FIRST_PING_AFTER);
	}

	_stop() {
		clearTimeout(this._ping_timer);
		this._feed.stop();
	}

	_show_state(state, error) {
		const is_live = state === "live";
		if (!is_live && state !== "asking") this._page.set_indicator(__("Not Live"), "orange");
		// The page asks again when snapshots are missing: the numbers stay, without a notice, until it is clear why.
		if (state === "asking" && !this._content.hidden) return;
		if (error?.code === "not_permitted") this._content.hidden = true;
		this._content.classList.toggle("realtime-stale", !is_live);
		this._notice.show(state, error);
	}

	_show_history(history) {
		this._history.load(history);
		this._charts_are_stale = true;
	}

	_show_snapshot(snapshot) {
		const was_hidden = this._content.hidden;
		this._content.hidden = false;
		this._page.set_indicator(__("Live"), "green");
		this._tiles.show(snapshot);
		this._dialogs.learn(snapshot);
		for (const table of this._tables) table.show(snapshot);
		// A chart is drawn after its element has a width.
		if (this._history.add(snapshot) || was_hidden || this._charts_are_stale) {
			this._charts.show(this._history.samples);
			this._charts_are_stale = false;
		}
	}

	_ping_after(delay) {
		clearTimeout(this._ping_timer);
		this._ping_timer = setTimeout(async () => {
			this._ping_after(PING_EVERY);
			await this._ping();
		}, delay);
	}

	async _ping() {
		const started = performance.now();
		try {
			await this._feed.query({ kind: "ping" });
		} catch {
			// The notice says why there is no answer.
			return;
		}
		this._tiles.show_socket_trip(performance.now() - started);
	}

	async _send_test_event() {
		let elapsed;
		try {
			elapsed = await send_test_event(frappe.realtime);
		} catch {
			// The Desk has shown why the request failed.
			return;
		}
		if (elapsed === null) {
			frappe.msgprint({
				title: __("The test event did not arrive"),
				message: __(
					"The web process has published it, and it did not come back within 10 seconds. On the server, frappe-realtime doctor finds the cause."
				),
				indicator: "red",
			});
			return;
		}
		this._tiles.show_test_trip(elapsed);
		frappe.show_alert({
			message: __("The test event came back after {0}.", [milliseconds(elapsed)]),
			indicator: "green",
		});
	}

	_find_user() {
		frappe.prompt(
			{ fieldname: "user", fieldtype: "Link", options: "User", label: __("User"), reqd: 1 },
			({ user }) => this._dialogs.show_user(user),
			__("Find User"),
			__("Show Sockets")
		);
	}
}

// In v15 the body of a page has a padding; in later versions it has none.
function has_gutter(main) {
	const body = main.closest(".page-body");
	return Boolean(body) && getComputedStyle(body).paddingInlineStart !== "0px";
}
