// Corrects the `doc_open` and `doc_close` events of Frappe's forms, which say who views a document.

/**
 * Make a filter for outgoing events, which drops `doc_close` of a document that is not open.
 *
 * When a form is left, Frappe emits `doc_close` once for each document that the form has ever shown, each time with the
 * name of the last one.
 *
 * @returns {(event: string, doctype: string, docname: string) => boolean} whether to emit the event
 */
export function make_close_filter() {
	const open = new Set();
	return (event, doctype, docname) => {
		const key = `${doctype}:${docname}`;
		if (event === "doc_open") open.add(key);
		return event !== "doc_close" || open.delete(key);
	};
}

/**
 * Emit `doc_close` when a form changes to another document or to a new one. Frappe closes only the last document.
 *
 * @param {Function} jquery
 * @param {object} realtime `frappe.realtime`
 */
export function close_previous_documents(jquery, realtime) {
	const open = new WeakMap();
	jquery(document).on("form-refresh form-unload", (event, form) => {
		const before = open.get(form);
		const now = form.doc && !form.is_new() ? form.docname : undefined;
		if (before !== undefined && before !== now) realtime.doc_close(form.doctype, before);
		open.set(form, event.type === "form-refresh" ? now : undefined);
	});
}
