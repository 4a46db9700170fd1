// What changes tasks: Frappe's REST API. What shows them are the composables of @frappe-realtime/vue.

export const add_task = (values) => send("POST", "", values);
export const change_task = (name, values) => send("PUT", `/${encodeURIComponent(name)}`, values);
export const remove_task = (name) => send("DELETE", `/${encodeURIComponent(name)}`);

/** Whether the session has ended; false if the site does not answer. */
export async function is_logged_out() {
	const response = await fetch("/api/method/frappe.auth.get_logged_user").catch(() => null);
	return response?.status === 401 || response?.status === 403;
}

async function send(method, path, values) {
	const headers = {
		Accept: "application/json",
		"Content-Type": "application/json",
		"X-Frappe-CSRF-Token": window.frappe.csrf_token,
	};
	const body = JSON.stringify(values);
	const response = await fetch(`/api/resource/Team Task${path}`, { method, headers, body }).catch(() => null);
	if (!response) throw new Error("The site does not answer. Try again.");
	const answer = await response.json().catch(() => null);
	if (!response.ok) throw new Error(message_of(answer) ?? `The site has refused this (HTTP ${response.status}).`);
}

// What Frappe would show to the user, as HTML.
function message_of(answer) {
	if (!answer?._server_messages) return undefined;
	const { message } = JSON.parse(JSON.parse(answer._server_messages)[0]);
	return new DOMParser().parseFromString(message, "text/html").body.textContent;
}
