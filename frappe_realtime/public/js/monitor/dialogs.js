// The dialogs of the page: the sockets of one user, and the members of one room.

import { element, link, pill } from "./dom.js";
import { address_name, count_sockets, date_and_time, duration, process_name, size } from "./format.js";
import { describe_room } from "./rooms.js";

const escape = (text) => frappe.utils.escape_html(text);

/** Opens the dialogs. */
export class Dialogs {
	/** @param {import("./feed.js").Feed} feed */
	constructor(feed) {
		this._feed = feed;
		this._processes = [];
	}

	/**
	 * Learn the names of the processes from a snapshot.
	 *
	 * @param {object} snapshot
	 */
	learn({ processes }) {
		this._processes = processes;
	}

	/**
	 * Show the sockets of a user, and offer to disconnect them.
	 *
	 * @param {string} user
	 */
	show_user(user) {
		const dialog = open_dialog(user);
		const refresh = () =>
			this._fill(dialog, { kind: "user", user }, ({ sockets }) => [
				element("p", { class: "text-muted" }, count_sockets(sockets.length)),
				...sockets.map((socket) => this._describe_socket(socket)),
			]);
		dialog.set_primary_action(__("Disconnect"), () => this._confirm_disconnect(user, refresh));
		dialog.get_primary_btn().removeClass("btn-primary").addClass("btn-danger");
		dialog.set_secondary_action_label(__("Refresh"));
		dialog.set_secondary_action(refresh);
		refresh();
	}

	/**
	 * Show the members of a room.
	 *
	 * @param {string} room
	 */
	show_room(room) {
		const dialog = open_dialog(room);
		this._fill(dialog, { kind: "room", room }, ({ members }) => [
			element("p", { class: "text-muted" }, describe_room(room)),
			members.length ? this._members_table(members) : element("p", {}, __("The room has no members.")),
		]);
	}

	async _fill(dialog, payload, make) {
		let content;
		try {
			content = make(await this._feed.query(payload));
		} catch (error) {
			content = [element("p", { class: "text-danger" }, error.message)];
		}
		dialog.body.querySelector(".realtime-dialog").replaceChildren(...content);
	}

	_describe_socket(socket) {
		const since = __("since {0} ({1})", [
			date_and_time(socket.since),
			duration(Date.now() / 1000 - socket.since),
		]);
		const rooms = socket.rooms.map((room) => {
			const entry = link(room, () => this.show_room(room));
			entry.classList.add("realtime-room");
			return entry;
		});
		const row = (label, ...value) => [element("dt", {}, label), element("dd", {}, ...value)];
		return element(
			"section",
			{ class: "realtime-socket" },
			element(
				"header",
				{},
				element("strong", {}, address_name(socket.address)),
				pill(socket.transport, socket.transport === "websocket" ? "green" : "orange"),
				element("span", { class: "text-muted" }, since)
			),
			element(
				"dl",
				{},
				...row(__("Client"), socket.client || __("unknown")),
				...row(__("Unsent"), socket.unsent ? pill(size(socket.unsent), "orange") : size(0)),
				...row(__("Sidecar"), this._name_of(socket.process)),
				...row(__("Rooms"), ...rooms)
			)
		);
	}

	_name_of(id) {
		const process = this._processes.find((one) => one.id === id);
		return process ? process_name(process) : id;
	}

	_members_table(members) {
		return element(
			"table",
			{ class: "realtime-members" },
			element(
				"tbody",
				{},
				...members.map(({ user, sockets }) =>
					element(
						"tr",
						{},
						element("td", {}, link(user, () => this.show_user(user))),
						element("td", { class: "realtime-number" }, count_sockets(sockets))
					)
				)
			)
		);
	}

	_confirm_disconnect(user, then) {
		const question = __("Disconnect all sockets of {0}? Browsers that are open connect again at once.", [
			`<b>${escape(user)}</b>`,
		]);
		frappe.confirm(question, async () => {
			try {
				const { sockets } = await this._feed.query({ kind: "disconnect", user });
				frappe.show_alert({ message: escape(__("Disconnected: {0}", [count_sockets(sockets)])), indicator: "green" });
			} catch (error) {
				frappe.show_alert({ message: escape(error.message), indicator: "red" });
			}
			then();
		});
	}
}

function open_dialog(title) {
	// The Desk parses the title as HTML.
	const dialog = new frappe.ui.Dialog({ title: escape(title), size: "large" });
	dialog.body.append(
		element("div", { class: "realtime-dialog" }, element("p", { class: "text-muted" }, __("Loading...")))
	);
	dialog.show();
	return dialog;
}
