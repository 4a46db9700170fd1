// Lets users of the Desk see each other in forms and lists; on when the site's `realtime_desk_collaboration` is set.

import { FormPresence, STYLE as FORM_STYLE, avatar } from "./desk_forms.js";
import { ListMembers, STYLE as LIST_STYLE } from "./desk_list_members.js";
import { SavedElsewhere, STYLE as SAVES_STYLE } from "./desk_saves.js";

/**
 * Extend the forms and the lists of the Desk.
 *
 * @param {Function} jquery
 * @param {object} realtime `frappe.realtime`
 */
export function collaborate(jquery, realtime) {
	const style = document.createElement("style");
	style.textContent = FORM_STYLE + LIST_STYLE + SAVES_STYLE;
	document.head.append(style);

	const presence = new FormPresence(realtime);
	const lists = new ListMembers(realtime, avatar);
	if (frappe.views?.ListView) lists.extend(frappe.views.ListView);
	const saves = new SavedElsewhere((user) => presence.name_of(user));
	jquery(document)
		.on("form-load", (event, form) => saves.watch(form))
		.on("form-refresh", (event, form) => {
			saves.refresh(form);
			// Frappe refreshes forms that are not shown, too, and each is `cur_frm` then.
			if (form.wrapper !== frappe.container.page) return;
			presence.show(form);
			lists.show_form(form);
		})
		.on("form-unload", (event, form) => {
			if (presence.leave(form)) lists.leave();
		})
		// Frappe triggers it at the form's element.
		.on("grid-row-render", (event, { frm }) => presence.redraw(frm));
}
