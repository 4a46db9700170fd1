// Lets users of the Desk see each other in forms; on when the site's `realtime_desk_collaboration` is set.

import { FormPresence, STYLE as FORM_STYLE } from "./desk_forms.js";
import { SavedElsewhere, STYLE as SAVES_STYLE } from "./desk_saves.js";

/**
 * Extend the forms of the Desk.
 *
 * @param {Function} jquery
 * @param {object} realtime `frappe.realtime`
 */
export function collaborate(jquery, realtime) {
	const style = document.createElement("style");
	style.textContent = FORM_STYLE + SAVES_STYLE;
	document.head.append(style);

	const presence = new FormPresence(realtime);
	const saves = new SavedElsewhere((user) => presence.name_of(user));
	jquery(document)
		.on("form-load", (event, form) => saves.watch(form))
		.on("form-refresh", (event, form) => {
			saves.refresh(form);
			// Frappe refreshes forms that are not shown, too.
			if (form === window.cur_frm) presence.show(form);
		})
		.on("form-unload", (event, form) => presence.leave(form))
		// Frappe triggers it at the form's element.
		.on("grid-row-render", (event, { frm }) => presence.redraw(frm));
}
