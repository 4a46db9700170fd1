// Who views a document: what Frappe's forms leave out when they say it, and what they say too often.

/**
 * A function that tells whether an event need be sent: closing a document that is not open need not.
 *
 * A form that is left says it once for each document that it has ever shown, each time about the last.
 */
export function needed_events() {
	const open = new Set();
	return (event, doctype, docname) => {
		const key = `${doctype}:${docname}`;
		if (event === "doc_open") open.add(key);
		return event !== "doc_close" || open.delete(key);
	};
}

/** Close the document that a form has left for another one, or for a new one: Frappe closes only the last. */
export function close_left_documents(jquery, realtime) {
	const open = new WeakMap();
	jquery(document).on("form-refresh form-unload", (event, form) => {
		const before = open.get(form);
		const now = form.doc && !form.is_new() ? form.docname : undefined;
		if (before !== undefined && before !== now) realtime.doc_close(form.doctype, before);
		open.set(form, event.type === "form-refresh" ? now : undefined);
	});
}
