// The progress bars of `frappe.publish_progress`: shown in the page that started the work, and closed at 100 percent.

import { PAGE_HEADER, page_id, read_progress } from "./realtime.js";

// Milliseconds for which a bar stays at 100 percent before it closes.
const CLOSE_AFTER = 500;

// The bars of this page by title: `{ dialog, is_closed }`.
const bars = new Map();

/**
 * Add the page id to each request to this site.
 *
 * @param {Function} jquery
 */
export function add_page_header(jquery) {
	jquery.ajaxPrefilter((options, original, request) => {
		if (!options.crossDomain) request.setRequestHeader(PAGE_HEADER, page_id);
	});
}

/**
 * Show a message of the event `progress`: `{ percent, title, description, page }`.
 *
 * @param {object} message
 */
export function show_progress(message) {
	const progress = read_progress(message);
	if (!progress) return;
	// Other listeners read `percent` from every message, as Frappe's own listener sets it.
	message.percent = progress.percent;
	// Website pages have no dialogs, unless they load them.
	if (!frappe.ui?.Dialog) return;

	const title = progress.title || __("Progress");
	const known = bars.get(title);
	if (!progress.is_here && (message.page || !known)) return;

	// After the user has closed a bar, the rest of its work shows none; the next work with this title opens a new one.
	const is_next = known?.is_closed && progress.percent < known.dialog.percent;
	// frappe.show_progress reuses frappe.cur_progress if it has the same title.
	if (known) frappe.cur_progress = is_next ? null : known.dialog;
	const dialog = frappe.show_progress(title, progress.percent, 100, progress.description);

	const bar = dialog === known?.dialog ? known : add_bar(title, dialog);
	if (progress.percent === 100) setTimeout(() => close_bar(title, bar), CLOSE_AFTER);
}

function add_bar(title, dialog) {
	const bar = { dialog, is_closed: false };
	bars.set(title, bar);
	dialog.$wrapper.on("hidden.bs.modal", () => (bar.is_closed = true));
	return bar;
}

function close_bar(title, bar) {
	const { dialog } = bar;
	// The same work may have started again.
	if (dialog.percent < 100) return;
	if (!dialog.display && !bar.is_closed) {
		// Bootstrap cannot hide a dialog while it is being shown.
		dialog.$wrapper.one("shown.bs.modal", () => close_bar(title, bar));
		return;
	}
	dialog.hide();
	if (bars.get(title) === bar) bars.delete(title);
	if (frappe.cur_progress === dialog) frappe.cur_progress = null;
}
