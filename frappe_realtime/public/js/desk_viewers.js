// Who views a document: the part of it that Frappe's forms leave out.

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
