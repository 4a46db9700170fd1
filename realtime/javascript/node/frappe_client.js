"use strict";
// Requests of handlers to Frappe's web process.

class FrappeClient {
	/** @param {string} url the configured address of the web process */
	constructor(url) {
		this._url = new URL(url);
		this._secret = "";
	}

	/** Send the secret that Frappe shares with its realtime server from now on. */
	set_secret(value) {
		this._secret = value;
	}

	/**
	 * Send a request with the credential of a client.
	 *
	 * @param {Socket} socket of the client
	 * @param {string} path
	 * @param {object} [args] the query
	 * @param {RequestInit} [options] of `fetch`
	 * @returns {Promise<Response>}
	 */
	async request(socket, path, args = {}, options = {}) {
		const query = new URLSearchParams(args ?? {}).toString();
		const url = new URL(this._url.origin + path + (query ? `?${query}` : ""));
		if (url.origin !== this._url.origin) {
			throw new TypeError(`frappe_request: ${JSON.stringify(path)} is not a path of the web process`);
		}
		const headers = new Headers(options?.headers);
		for (const [name, value] of Object.entries(socket._credential)) headers.set(name, value);
		headers.set("X-Frappe-Site-Name", socket.site_name);
		if (this._secret) headers.set("X-Frappe-Socket-Secret", this._secret);
		return fetch(url, { ...options, headers });
	}
}

module.exports = { FrappeClient };
