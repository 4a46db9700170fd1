// The page that a connection belongs to: its id, its site and its servers.

/** The header that tells the server which page sends a request; its value is `page_id`. */
export const PAGE_HEADER = "X-Frappe-Realtime-Page";

/** The id of this page. It stays the same after a reload, and is different in each tab. */
export const page_id: string = /* @__PURE__ */ load_page_id();

/** Return what Frappe puts into a page; empty where there is no page. */
export function page(): any {
	return globalThis.window ?? {};
}

function load_page_id(): string {
	const window = page();
	// On a server that renders pages, there is no page yet.
	return globalThis.document ? (window.frappe_realtime_page ??= new_page_id()) : "";
}

// Only a reload keeps the id: a duplicated tab starts with a copy of the session storage of the other tab.
function new_page_id(): string {
	const key = "frappe_realtime_page";
	const fresh = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0"));
	try {
		const [navigation] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
		const kept = navigation?.type === "reload" && sessionStorage.getItem(key);
		if (kept) return kept;
		sessionStorage.setItem(key, fresh.join(""));
	} catch {
		// Storage may be forbidden; then a reload gets a new id.
	}
	return fresh.join("");
}

/** Return the name of the site of the page. */
export function default_site(): string {
	const window = page();
	const site = window.frappe?.boot?.sitename ?? window.site_name ?? globalThis.location?.hostname;
	if (!site) throw new Error("There is no page that names the site: pass the option `site`.");
	return site;
}

/** Return the origin of the page; empty where there is no page. */
export function page_origin(): string {
	return globalThis.location?.origin ?? "";
}

/** Return the origin of the realtime server: on a development bench, which has no proxy, it has its own port. */
export function default_url(): string {
	const window = page();
	if (!globalThis.location) throw new Error("There is no page that names the server: pass the option `url`.");
	if (!window.dev_server) return location.origin;
	const port = window.frappe?.boot?.socketio_port ?? window.socketio_port ?? 9000;
	return `${location.protocol}//${location.hostname}:${port}`;
}
