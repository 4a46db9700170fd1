"use strict";
// Requests of handlers to the web process: its configured address, the site, and the credential of the socket's client.

class Web {
	constructor(url) {
		this._url = new URL(url);
		this._secret = "";
	}

	/** The secret that Frappe shares with its realtime server. */
	set secret(value) {
		this._secret = value;
	}

	/** `fetch` of `path` with `args` as its query; `options` as fetch takes them. */
	async request(socket, path, args = {}, options = {}) {
		const query = new URLSearchParams(args ?? {}).toString();
		const url = new URL(this._url.origin + path + (query ? `?${query}` : ""));
		if (url.origin !== this._url.origin) {
			throw new TypeError(`frappe_request calls paths of the web process, and ${JSON.stringify(path)} is none`);
		}
		const headers = new Headers(options?.headers);
		for (const [name, value] of Object.entries(socket._credential)) headers.set(name, value);
		headers.set("X-Frappe-Site-Name", socket.site_name);
		if (this._secret) headers.set("X-Frappe-Socket-Secret", this._secret);
		return fetch(url, { ...options, headers });
	}
}

module.exports = { Web };
