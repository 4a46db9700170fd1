// Built by client/build_assets.mjs from client/core/src/realtime.ts: change that file.

// The browser client: a connection to a Frappe site that reconnects and subscribes again.
//
// This module and those that it imports are in the package @frappe-realtime/core, and in /assets/frappe_realtime/js: pages without a
// build step import realtime.js from there, and the extension of the Desk (desk.js) is built on it. The two differ in load_io.ts only.
// After a change: node client/build_assets.mjs
import { Api } from "./api.js?v=9546e278ec6a";
import { Connection } from "./connection.js?v=b1fcd83ca6cb";
import { load_io } from "./load_io.js?v=5f7ead54ae70";
import { default_site, default_url, page_origin } from "./page.js?v=fccc9a93854c";
import { Credentials } from "./token.js?v=75fe4034ec04";
export { CallError } from "./calls.js?v=0792bfc0619b";
export { Connection } from "./connection.js?v=b1fcd83ca6cb";
export { LOCAL_EVENTS, MISSED_EVENT, STATUS_EVENT } from "./local_events.js?v=223b256908b5";
export { PAGE_HEADER, page_id } from "./page.js?v=fccc9a93854c";
export { read_progress } from "./progress_message.js?v=6f1f5d234835";
/**
 * @typedef {object} ConnectOptions
 * @property {string} [site] the name of the site; default: the name that Frappe puts into the page, or the host name
 * @property {string} [url] the origin of the realtime server; default: the origin of the page
 * @property {Token} [token] `api_key:api_secret`, `Bearer …`, or a function that returns it, also as a promise. The function
 *     is called before each connection, with `{ renew: true }` after the server has refused the last one
 * @property {string} [api] the origin of Frappe's web server, for what loads documents; default: `url`, or that of the page
 * @property {Function} [io] Socket.IO's `io`, version 4.6 or later; default: that of the package, or of /assets
 */
/**
 * Connect to a site.
 *
 * @param {ConnectOptions & Record<string, any>} [options] other options are passed to Socket.IO's `io()`, for instance
 *     `transports: ["websocket"]`
 * @returns {Promise<Connection>} a connection that may still be connecting: see `status`
 * @throws {Error} Socket.IO's client cannot be loaded
 */
export async function connect(options = {}) {
	const { io = await load_io(), ...rest } = options;
	return open(io, rest);
}
/**
 * Connect to a site with a given `io`, without waiting for it.
 *
 * @param {Function} io Socket.IO's `io`
 * @param {ConnectOptions & Record<string, any>} [options] see `connect`
 * @returns {Connection}
 */
export function open(io, options = {}) {
	const { site = default_site(), url, api, token, autoConnect = true, ...rest } = options;
	const credentials = token === undefined ? null : new Credentials(token);
	if (credentials)
		rest.auth = credentials.auth(rest.auth);
	// Connect only after the Connection listens, so that it sees the first packet.
	const socket = io(`${url ?? default_url()}/${site}`, { withCredentials: !credentials, ...rest, autoConnect: false });
	const connection = new Connection(socket, credentials);
	connection.api = new Api(api ?? url ?? page_origin(), credentials);
	if (autoConnect)
		socket.connect();
	return connection;
}
/**
 * Use a socket that another part of the page has opened and goes on using, as the shell of a Desk does.
 *
 * That part counts its subscriptions itself and emits them over the socket; together they count as one more holder here. So neither
 * makes the other leave a room. The socket reconnects for as long as the page lives, and is in its rooms again then.
 *
 * @param {any} socket a socket of socket.io-client 4.6 or later, connected or not, for the namespace of the site
 * @param {{ api?: string }} [options] `api`: see `ConnectOptions`
 * @returns {Connection} its `close` closes the socket; leave that to the part that has opened it
 */
export function share(socket, { api } = {}) {
	const connection = new Connection(socket);
	if (api !== undefined)
		connection.api = new Api(api, null);
	const { emit } = socket;
	socket.emit = function (event, ...args) {
		return connection.is_sent(event, args) ? emit.call(this, event, ...args) : this;
	};
	return connection;
}
