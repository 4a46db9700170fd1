// Frappe's REST API, as far as live documents and lists need it. The same on v15, v16 and v17.

import type { Credentials } from "./token.js";

/** The web server has refused a request, or could not be reached. */
export class ApiError extends Error {
	/** The HTTP status; 0 if there was no response. */
	readonly status: number;
	/** The type of Frappe's exception, for instance `PermissionError` or `DoesNotExistError`. */
	readonly code: string;

	constructor(status: number, code: string, message: string) {
		super(message);
		this.name = "ApiError";
		this.status = status;
		this.code = code;
	}
}

/** What `Api.list` loads; the names are those of `frappe.get_list`. Frappe limits it to 20 rows, in no defined order, unless told otherwise. */
export interface ListQuery {
	fields?: string[];
	filters?: unknown;
	or_filters?: unknown;
	order_by?: string;
	group_by?: string;
	parent?: string;
	limit_start?: number;
	limit_page_length?: number;
}

/** Loads documents from Frappe's web server. */
export class Api {
	private readonly _origin: string;
	private readonly _credentials: Credentials | null;

	constructor(origin: string, credentials: Credentials | null) {
		this._origin = origin;
		this._credentials = credentials;
	}

	/** Load a document. */
	async doc<T>(doctype: string, name: string | number, signal?: AbortSignal): Promise<T> {
		const path = `/api/resource/${encodeURIComponent(doctype)}/${encodeURIComponent(name)}`;
		return (await this.get(path, {}, signal)).data;
	}

	/** Load the rows of a list. */
	async list<T>(doctype: string, query: ListQuery = {}, signal?: AbortSignal): Promise<T[]> {
		return (await this.get(`/api/resource/${encodeURIComponent(doctype)}`, { ...query }, signal)).data;
	}

	/** Send a GET request; values that are not text are sent as JSON. */
	async get(path: string, params: Record<string, unknown> = {}, signal?: AbortSignal): Promise<any> {
		const query = new URLSearchParams();
		for (const [key, value] of Object.entries(params)) {
			if (value !== undefined) query.set(key, typeof value === "string" ? value : JSON.stringify(value));
		}
		const text = query.toString();
		const url = `${this._origin}${path}${text && `?${text}`}`;
		let response = await this._fetch(url, false, signal);
		if (response.status === 401 && this._credentials?.can_renew) response = await this._fetch(url, true, signal);
		const body: any = await response.json().catch((error: unknown) => {
			if (signal?.aborted) throw error;
			return null;
		});
		if (response.ok && body !== null) return body;
		// A proxy may answer for the site, with a page of its own.
		const said = response.ok ? `${path} was answered with something else than JSON (HTTP ${response.status})` : message_of(body);
		throw new ApiError(response.status, body?.exc_type ?? "", said || `HTTP ${response.status} for ${path}`);
	}

	private async _fetch(url: string, renew: boolean, signal?: AbortSignal): Promise<Response> {
		const headers: Record<string, string> = { Accept: "application/json" };
		if (this._credentials) headers.Authorization = authorization(await this._credentials.token(renew || undefined));
		try {
			// A cookie beside a token would only be in its way.
			return await fetch(url, { headers, credentials: this._credentials ? "omit" : "include", signal: signal ?? null });
		} catch (error) {
			if (signal?.aborted) throw error;
			throw new ApiError(0, "", `${url} cannot be reached: ${error instanceof Error ? error.message : error}`);
		}
	}
}

function authorization(token: string): string {
	return token.includes(" ") ? token : `token ${token}`;
}

// The text that Frappe shows to the user, or that of the exception.
function message_of(body: any): string {
	try {
		const [first] = JSON.parse(body._server_messages);
		return JSON.parse(first).message;
	} catch {
		return body?.exception ?? "";
	}
}
