// The bars of `frappe.publish_progress`: in the page that has started the work, closed when it is done.

import { PAGE_HEADER, page_id, read_progress } from "./realtime.js";

// Milliseconds for which a full bar is left to be seen.
const FAREWELL = 500;

// The bars of this page, by their title: `{ dialog, is_closed }`.
const bars = new Map();

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
	// A page of the website has dialogs only if it brings them.
	if (!frappe.ui?.Dialog) return;

	const title = progress.title || __("Progress");
	const begun = bars.get(title);
	if (!progress.is_here && (message.page || !begun)) return;

	// When the user has closed a bar, the rest of that work goes on unseen; the next work gets a bar of its own.
	const is_next = begun?.is_closed && progress.percent < begun.dialog.percent;
	// frappe.show_progress goes on with the dialog that it finds here, if it has the same title.
	if (begun) frappe.cur_progress = is_next ? null : begun.dialog;
	const dialog = frappe.show_progress(title, progress.percent, 100, progress.description);

	const bar = dialog === begun?.dialog ? begun : remember(title, dialog);
	if (progress.percent === 100) setTimeout(() => close(title, bar), FAREWELL);
}

function remember(title, dialog) {
	const bar = { dialog, is_closed: false };
	bars.set(title, bar);
	dialog.$wrapper.on("hidden.bs.modal", () => (bar.is_closed = true));
	return bar;
}

function close(title, bar) {
	const { dialog } = bar;
	// The same work may have begun anew meanwhile.
	if (dialog.percent < 100) return;
	if (!dialog.display && !bar.is_closed) {
		// Bootstrap does not hide what is still on its way to be shown.
		dialog.$wrapper.one("shown.bs.modal", () => close(title, bar));
		return;
	}
	dialog.hide();
	if (bars.get(title) === bar) bars.delete(title);
	if (frappe.cur_progress === dialog) frappe.cur_progress = null;
}
