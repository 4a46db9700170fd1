// Built by client/build_assets.mjs from client/core/src/api.ts: change that file.

// Frappe's REST API, as far as live documents and lists need it. The same on v15, v16 and v17.
/** The web server has refused a request, or could not be reached. */
export class ApiError extends Error {
	constructor(status, code, message) {
		super(message);
		this.name = "ApiError";
		this.status = status;
		this.code = code;
	}
}
/** Loads documents from Frappe's web server. */
export class Api {
	constructor(origin, credentials) {
		this._origin = origin;
		this._credentials = credentials;
	}
	/** Load a document. */
	async doc(doctype, name, signal) {
		const path = `/api/resource/${encodeURIComponent(doctype)}/${encodeURIComponent(name)}`;
		return (await this.get(path, {}, signal)).data;
	}
	/** Load the rows of a list. */
	async list(doctype, query = {}, signal) {
		return (await this.get(`/api/resource/${encodeURIComponent(doctype)}`, { ...query }, signal)).data;
	}
	/** Send a GET request; values that are not text are sent as JSON. */
	async get(path, params = {}, signal) {
		const query = new URLSearchParams();
		for (const [key, value] of Object.entries(params)) {
			if (value !== undefined)
				query.set(key, typeof value === "string" ? value : JSON.stringify(value));
		}
		const text = query.toString();
		const url = `${this._origin}${path}${text && `?${text}`}`;
		let response = await this._fetch(url, false, signal);
		if (response.status === 401 && this._credentials?.can_renew)
			response = await this._fetch(url, true, signal);
		const body = await response.json().catch((error) => {
			if (signal?.aborted)
				throw error;
			return null;
		});
		if (response.ok && body !== null)
			return body;
		// A proxy may answer for the site, with a page of its own.
		const said = response.ok ? `${path} was answered with something else than JSON (HTTP ${response.status})` : message_of(body);
		throw new ApiError(response.status, body?.exc_type ?? "", said || `HTTP ${response.status} for ${path}`);
	}
	async _fetch(url, renew, signal) {
		const headers = { Accept: "application/json" };
		if (this._credentials)
			headers.Authorization = authorization(await this._credentials.token(renew || undefined));
		try {
			// A cookie beside a token would only be in its way.
			return await fetch(url, { headers, credentials: this._credentials ? "omit" : "include", signal: signal ?? null });
		}
		catch (error) {
			if (signal?.aborted)
				throw error;
			throw new ApiError(0, "", `${url} cannot be reached: ${error instanceof Error ? error.message : error}`);
		}
	}
}
function authorization(token) {
	return token.includes(" ") ? token : `token ${token}`;
}
// The text that Frappe shows to the user, or that of the exception.
function message_of(body) {
	try {
		const [first] = JSON.parse(body._server_messages);
		return JSON.parse(first).message;
	}
	catch {
		return body?.exception ?? "";
	}
}
