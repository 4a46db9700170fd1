// The bars of `frappe.publish_progress`: in the page that has started the work, closed when it is done.

import { PAGE_HEADER, page_id, read_progress } from "./realtime.js";

// Milliseconds for which a full bar is left to be seen.
const FAREWELL = 500;

// The bars of this page, by their title.
const dialogs = new Map();

/** Let the server know which page a request comes from. */
export function mark_requests(jquery) {
	jquery.ajaxPrefilter((options, original, request) => {
		if (!options.crossDomain) request.setRequestHeader(PAGE_HEADER, page_id);
	});
}

/** Show a message of the event `progress`. */
export function show_progress(message) {
	const progress = read_progress(message);
	if (!progress) return;
	// Other listeners find a percentage in every message, as with Frappe's own.
	message.percent = progress.percent;

	const title = progress.title || __("Progress");
	const begun = dialogs.get(title);
	if (!progress.is_here && (message.page || !begun)) return;

	// frappe.show_progress goes on with the dialog that it finds here, also with one that the user has closed:
	// right for the rest of that work, not for the next.
	const is_next = begun && !begun.$wrapper.hasClass("show") && progress.percent < begun.percent;
	frappe.cur_progress = is_next ? null : (begun ?? frappe.cur_progress);
	const dialog = frappe.show_progress(title, progress.percent, 100, progress.description);
	dialogs.set(title, dialog);
	if (progress.percent === 100) setTimeout(() => close(title, dialog), FAREWELL);
}

function close(title, dialog) {
	// The same work may have begun anew meanwhile.
	if (dialog.percent < 100) return;
	dialog.hide();
	if (dialogs.get(title) === dialog) dialogs.delete(title);
	if (frappe.cur_progress === dialog) frappe.cur_progress = null;
}
