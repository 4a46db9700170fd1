// The row of numbers at the top of the page.

import { element } from "./dom.js";
import { count, decimal, milliseconds, size, count_sockets } from "./format.js";
import { total_memory } from "./history.js";

/** The tiles: who is connected, and how fast events reach them. */
export class Tiles {
	constructor() {
		this._tiles = {
			users: new Tile("users", __("Users")),
			sockets: new Tile("sockets", __("Sockets")),
			rooms: new Tile("rooms", __("Rooms")),
			memory: new Tile("memory", __("Memory")),
			events: new Tile("events", __("Events per Second")),
			deliveries: new Tile("deliveries", __("Deliveries per Second")),
			latency: new Tile("latency", __("Publish to Write")),
			trip: new Tile("trip", __("Round Trip")),
		};
		this.element = element(
			"div",
			{ class: "realtime-tiles" },
			...Object.values(this._tiles).map((tile) => tile.element)
		);
		this._trip = { socket: null, test: null };
		this._show_trip();
	}

	/** Show a snapshot. */
	show(snapshot) {
		const { totals, rates, latency_ms, processes } = snapshot;
		const { users, sockets, rooms, memory, events, deliveries, latency } = this._tiles;
		users.set(count(totals.users), __("and {0} of guests", [count_sockets(totals.guests)]));
		sockets.set(
			count(totals.sockets),
			__("{0} WebSocket, {1} polling", [count(totals.websocket), count(totals.polling)])
		);
		rooms.set(count(totals.rooms), __("without those of single users"));
		events.set(decimal(rates.events), __("and {0} from clients", [decimal(rates.client_events)]));
		deliveries.set(
			decimal(rates.deliveries),
			rates.events ? __("{0} sockets per event", [decimal(rates.deliveries / rates.events)]) : ""
		);
		if (latency_ms.p99) {
			latency.set(milliseconds(latency_ms.p50), __("99 % of events: {0}", [milliseconds(latency_ms.p99)]));
		} else {
			latency.set("–", __("no event yet"));
		}
		memory.set(
			size(total_memory(snapshot)),
			processes.length === 1 ? __("1 sidecar") : __("{0} sidecars", [count(processes.length)])
		);
	}

	/** Show how long a question to the sidecar took, in milliseconds. */
	show_socket_trip(elapsed) {
		this._trip.socket = elapsed;
		this._show_trip();
	}

	/** Show how long a test event took, in milliseconds. */
	show_test_trip(elapsed) {
		this._trip.test = elapsed;
		this._show_trip();
	}

	_show_trip() {
		const { socket, test } = this._trip;
		this._tiles.trip.set(
			socket == null ? "–" : milliseconds(socket),
			test == null ? __("browser to sidecar and back") : __("Test event: {0}", [milliseconds(test)])
		);
	}
}

class Tile {
	constructor(name, label) {
		this._value = element("div", { class: "realtime-value" }, "–");
		this._detail = element("div", { class: "realtime-detail" });
		this.element = element(
			"div",
			{ class: `realtime-card realtime-tile realtime-tile-${name}` },
			element("div", { class: "realtime-label" }, label),
			this._value,
			this._detail
		);
	}

	set(value, detail) {
		this._value.textContent = value;
		this._detail.textContent = detail;
	}
}
