// The tables of the page: which columns they have, and how a row of a snapshot becomes text.

import { element, pill } from "./dom.js";
import {
	address_name,
	count,
	date_and_time,
	decimal,
	duration,
	milliseconds,
	percent,
	process_name,
	size,
	time_of_day,
} from "./format.js";
import { Table } from "./table.js";

/**
 * @typedef {object} Actions
 * @property {(user: string) => void} show_user
 * @property {(room: string) => void} show_room
 */

/**
 * Make the tables.
 *
 * @param {Actions} actions what a click on a name does
 * @returns {{element: HTMLElement, show: (snapshot: object) => void}[]} in the order of the page
 */
export function make_tables({ show_user, show_room }) {
	return [
		section(users_table(show_user), (table, { users, totals }) =>
			table.update(users, totals.users + (totals.guests ? 1 : 0))
		),
		section(rooms_table(show_room), (table, { rooms, totals }) => table.update(rooms, totals.rooms)),
		section(events_table(), (table, { events }) => table.update(events)),
		section(handlers_table(), (table, { handlers }) => table.update(handlers)),
		section(incidents_table(show_user), (table, { incidents }) => table.update(incidents)),
		section(processes_table(), (table, { processes, time }) =>
			table.update(processes.map((process) => ({ ...process, now: time })))
		),
	];
}

function section(table, update) {
	return { element: table.element, show: (snapshot) => update(table, snapshot) };
}

function number(label, text, title) {
	return { label, title, is_number: true, content: (row) => [text(row)] };
}

function text(label, read) {
	return { label, content: (row) => [read(row)] };
}

function users_table(show_user) {
	return new Table({
		name: "users",
		title: __("Users"),
		empty: __("No user is connected."),
		key: ({ user }) => user,
		columns: [
			{ label: __("User"), wraps: true, content: ({ user }) => [user], open: ({ user }) => show_user(user) },
			number(__("Sockets"), ({ sockets }) => count(sockets), __("Open browser tabs and other clients")),
		],
	});
}

function rooms_table(show_room) {
	return new Table({
		name: "rooms",
		title: __("Rooms"),
		empty: __("No room has members."),
		key: ({ room }) => room,
		columns: [
			{ label: __("Room"), wraps: true, content: ({ room }) => [room], open: ({ room }) => show_room(room) },
			number(__("Users"), ({ users }) => count(users)),
			number(__("Sockets"), ({ sockets }) => count(sockets)),
		],
	});
}

function events_table() {
	return new Table({
		name: "events",
		title: __("Events"),
		note: __("Counted while this page is open"),
		empty: __("No event has been published since this page was opened."),
		key: ({ event }) => event,
		columns: [
			{
				label: __("Event"),
				wraps: true,
				content: ({ event, to_all }) => [
					element("span", {}, event),
					to_all
						? pill(
								__("All Desk users"),
								"orange",
								__("Published without a user, room or document: all Desk users have received it, or all sockets.")
							)
						: "",
				],
			},
			number(__("Published"), (event) => count(event.count)),
			number(__("Average Size"), ({ bytes, count: published }) => size(bytes / Math.max(published, 1))),
			number(
				__("Sockets per Event"),
				({ deliveries, count: published }) => decimal(deliveries / Math.max(published, 1)),
				__("How many sockets an event was sent to, on average")
			),
		],
	});
}

function handlers_table() {
	return new Table({
		name: "handlers",
		title: __("Handlers"),
		note: __("Functions of apps that clients call"),
		empty: __("No handler has been called since this page was opened."),
		key: ({ app, event }) => `${app} ${event}`,
		columns: [
			text(__("App"), ({ app }) => app),
			{
				label: __("Event"),
				wraps: true,
				content: ({ event, last_error }) => [
					event,
					last_error ? element("div", { class: "realtime-error", title: last_error }, last_error) : "",
				],
			},
			number(__("Calls"), ({ calls }) => count(calls)),
			number(__("Average Time"), ({ seconds, calls }) => milliseconds((1000 * seconds) / Math.max(calls, 1))),
			{
				label: __("Errors"),
				is_number: true,
				content: ({ errors }) => [errors ? pill(count(errors), "red") : count(0)],
			},
		],
	});
}

// By kind of an incident: its name and its color.
const INCIDENT_KINDS = {
	refused: [__("Refused"), "orange"],
	limit: [__("Limit"), "yellow"],
	slow_client: [__("Slow Client"), "yellow"],
	handler_error: [__("Handler Error"), "red"],
	outage: [__("Outage"), "red"],
};

function incidents_table(show_user) {
	return new Table({
		name: "incidents",
		title: __("Recent Incidents"),
		empty: __("Nothing was refused and no limit was reached."),
		key: ({ time, kind, code, user, address }) => JSON.stringify([time, kind, code, user, address]),
		columns: [
			{
				label: __("Time"),
				content: ({ time }) => [element("span", { title: date_and_time(time) }, time_of_day(time))],
			},
			{
				label: __("Kind"),
				content: ({ kind, code }) => {
					const [name, color] = INCIDENT_KINDS[kind] ?? [kind, "gray"];
					return [pill(name, color, code)];
				},
			},
			{
				label: __("What Happened"),
				wraps: true,
				content: ({ message, count: times }) => [
					element("span", {}, message),
					times > 1 ? pill(`× ${count(times)}`, "gray") : "",
				],
			},
			{ label: __("User"), content: ({ user }) => [user], open: ({ user }) => show_user(user) },
			text(__("Address"), ({ address }) => address_name(address)),
		],
	});
}

function processes_table() {
	const condition = (label, read) => ({
		label,
		content: (row) => [read(row) === "ok" ? pill(__("OK"), "green") : pill(__("Unavailable"), "red", read(row))],
	});
	return new Table({
		name: "processes",
		title: __("Sidecars"),
		note: __("Memory and CPU are those of the whole process, for all sites"),
		empty: __("No sidecar has reported."),
		key: ({ id }) => id,
		columns: [
			{
				label: __("Process"),
				content: (process) => [element("span", { title: process.id }, process_name(process))],
			},
			text(__("Version"), ({ version }) => version),
			text(__("Running for"), ({ started, now }) => duration(now - started)),
			number(__("Sockets"), ({ sockets }) => count(sockets)),
			number(__("Memory"), ({ memory }) => size(memory)),
			number(__("CPU"), ({ cpu }) => percent(cpu)),
			condition(__("Redis"), ({ redis }) => redis),
			condition(__("Web Process"), ({ web }) => web),
			number(
				__("Waiting"),
				({ clients_waiting }) => count(clients_waiting),
				__("Clients that wait until the web process answers who they are")
			),
		],
	});
}
