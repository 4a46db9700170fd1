// Lets the lists of the Desk fetch all their rows after a `list_update` that does not name all changed documents.
//
// The list view of Frappe (v15 to v17) fetches the rows that updates name. An update has no name for users who may not read the
// document, and the last update of a burst has `more: true` if more documents have changed than are named. Frappe fetches nothing
// then, and raises a TypeError for the update without a name.

/**
 * Extend the list views of the Desk. The views that inherit from `frappe.views.ListView` are extended with it.
 *
 * @param {Function} ListView `frappe.views.ListView`
 */
export function refresh_after_unnamed_updates(ListView) {
	const { process_document_refreshes } = ListView.prototype;

	// Frappe calls it when no update has arrived for two seconds.
	ListView.prototype.process_document_refreshes = function () {
		if (!this.pending_document_refreshes.some(is_incomplete)) return process_document_refreshes.call(this);
		this.pending_document_refreshes = [];
		if (!is_shown(this)) {
			// As Frappe does: the list fetches its rows, and subscribes again, when it is shown again.
			this.disable_realtime_updates();
			return undefined;
		}
		// refresh() does nothing for three seconds after the last time, by which the state after a burst would be missed.
		this.last_args = null;
		return this.refresh();
	};
}

function is_incomplete({ name, more }) {
	return !name || Boolean(more);
}

/**
 * Return whether a list is what the page shows.
 *
 * @param {object} list
 */
export function is_shown(list) {
	const [view, doctype] = frappe.get_route() ?? [];
	return view === "List" && doctype === list.doctype && window.cur_list === list;
}
