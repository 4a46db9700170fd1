// Shows in a form of the Desk who else has it open, and at each field who edits it.
//
// The form that is shown is a member of the presence of its document. Its state says which field has the focus:
// `{field, row, column}`, the last two in a child table.

import { edited_field, find_field } from "./desk_fields.js";

// Avatars beside the buttons of a form; the others are counted.
const MAX_AVATARS = 5;

export const STYLE = `
.form-viewers.is-replaced { display: none !important; }
.realtime-members { display: flex; flex: none; align-items: center; }
.realtime-member { border-radius: 50%; margin-inline-end: 4px; }
.realtime-member.is-editing { box-shadow: 0 0 0 2px var(--fg-color, Canvas), 0 0 0 4px var(--realtime-color, currentColor); }
.realtime-more { padding-inline: 2px 8px; color: var(--text-muted, GrayText); }
.realtime-edited { position: relative; }
.realtime-outlined { outline: 2px solid var(--realtime-color, currentColor); outline-offset: 1px; border-radius: var(--border-radius, 8px); }
.realtime-outlined-cell { box-shadow: inset 0 0 0 2px var(--realtime-color, currentColor); }
.realtime-editors {
	position: absolute;
	inset-block-start: -4px;
	inset-inline-end: 0;
	max-width: 70%;
	z-index: 2;
	display: flex;
	gap: 4px;
	pointer-events: none;
}
.realtime-editor {
	padding: 0 6px;
	overflow: hidden;
	text-overflow: ellipsis;
	white-space: nowrap;
	border-radius: 4px;
	background: var(--realtime-background, var(--fg-color, Canvas));
	color: var(--realtime-color, currentColor);
	font-size: var(--text-xs, 11px);
	line-height: 18px;
}
@media print { .realtime-members, .realtime-editors { display: none; } }
`;

/** The form that is shown, and who else is in it. There is one for the page. */
export class FormPresence {
	/** @param {object} realtime `frappe.realtime` */
	constructor(realtime) {
		this._realtime = realtime;
		this._form = null;
		this._presence = null;
		// Another part of the page may be in the place already, and stays there then.
		this._has_joined = false;
		this._avatars = null;
		this._marked = [];
		this._is_drawing = false;
		this._on_change = () => this._draw_soon();
		document.addEventListener("focusin", ({ target }) => this._set_focus(target));
		document.addEventListener("focusout", ({ relatedTarget }) => relatedTarget || this._set_focus(null));
	}

	/** Be a member of the form's document, and show the others; called when a form shows its document. */
	show(form) {
		if (form.is_new()) {
			this.leave();
			return;
		}
		const presence = this._realtime.presence(form.doctype, form.docname);
		if (presence !== this._presence || form !== this._form) {
			this.leave();
			this._form = form;
			this._presence = presence;
			this._has_joined = !presence.wanted;
			for (const event of EVENTS) presence.on(event, this._on_change);
		}
		// A page that was refused, or made to leave, tries again.
		presence.join(edited_field(form, document.activeElement)).catch(this._on_change);
		this._draw_soon();
	}

	/**
	 * Leave the form; called when a form is left.
	 *
	 * @returns {boolean} whether it is the form that was shown
	 */
	leave(form = this._form) {
		if (!this._presence || form !== this._form) return false;
		for (const event of EVENTS) this._presence.off(event, this._on_change);
		if (this._has_joined) this._presence.leave();
		else if (this._presence.wanted) this._presence.set(edited_field(this._form, null));
		this._clear();
		this._avatars?.remove();
		this._form.viewers?.parent.removeClass("is-replaced");
		this._form = this._presence = this._avatars = null;
		return true;
	}

	/** Draw again what a row of a child table had when it was drawn anew. */
	redraw(form) {
		if (form === this._form) this._draw_soon();
	}

	/** Return the full name of a user, as far as this page knows it. */
	name_of(user) {
		const member = this._presence?.members.find((one) => one.user === user);
		return member?.full_name || frappe.user_info(user).fullname || user;
	}

	_set_focus(element) {
		if (this._presence?.me) this._presence.set(edited_field(this._form, element));
	}

	_draw_soon() {
		if (this._is_drawing) return;
		this._is_drawing = true;
		setTimeout(() => {
			this._is_drawing = false;
			if (this._form) this._draw();
		});
	}

	_draw() {
		this._clear();
		const others = this._presence.users.filter(({ user }) => user !== frappe.session.user);
		const names = new Map();
		for (const { user, full_name, members } of others) {
			names.set(user, full_name);
			const [background, color] = frappe.get_palette(full_name);
			for (const { state } of members) {
				const found = find_field(this._form, state);
				if (!found) continue;
				this._mark(found, full_name, { background, color });
				names.set(user, __("{0} edits {1}", [full_name, found.text]));
			}
		}
		this._draw_avatars(others, names);
	}

	_draw_avatars(others, names) {
		const { viewers } = this._form;
		if (!viewers) return;
		if (!this._avatars) {
			this._avatars = document.createElement("div");
			this._avatars.className = "realtime-members";
			this._avatars.setAttribute("role", "list");
			this._avatars.setAttribute("aria-label", __("Currently Viewing"));
			viewers.parent.after(this._avatars);
		}
		// Frappe's own avatars, of `doc_viewers`, are the same users.
		viewers.parent.toggleClass("is-replaced", this._presence.me !== null);
		const shown = others.slice(0, MAX_AVATARS);
		this._avatars.replaceChildren(
			...shown.map(({ user, full_name }) => {
				const text = names.get(user);
				const one = avatar(user, full_name, text);
				if (text !== full_name) {
					one.classList.add("is-editing");
					one.style.setProperty("--realtime-color", `var(${frappe.get_palette(full_name)[1]})`);
				}
				return one;
			}),
		);
		const own = this._presence.members.filter(({ user }) => user === frappe.session.user).length;
		const listed = shown.reduce((sum, { members }) => sum + members.length, own);
		const more = this._presence.count - listed;
		if (more > 0) {
			const count = document.createElement("span");
			count.className = "realtime-more";
			count.setAttribute("role", "listitem");
			count.textContent = `+${more}`;
			count.title = others.slice(MAX_AVATARS).map(({ user }) => names.get(user)).join(", ");
			this._avatars.append(count);
		}
	}

	_mark({ element, cell, text }, name, { background, color }) {
		const properties = { "--realtime-background": `var(${background})`, "--realtime-color": `var(${color})` };
		this._add(element, "realtime-edited");
		if (cell) this._add(cell, "realtime-outlined-cell", properties);
		else {
			const is_table = element.querySelector(".form-grid") !== null;
			const target = (!is_table && element.querySelector(".control-input-wrapper")) || element;
			this._add(target, "realtime-outlined", properties);
		}
		let editors = element.querySelector(":scope > .realtime-editors");
		if (!editors) {
			editors = document.createElement("div");
			editors.className = "realtime-editors";
			element.append(editors);
			this._marked.push(() => editors.remove());
		}
		const editor = document.createElement("span");
		editor.className = "realtime-editor";
		editor.textContent = name;
		editor.title = __("{0} edits {1}", [name, text]);
		set_properties(editor, properties);
		editors.append(editor);
	}

	// The first one who edits a field gives it the colour.
	_add(element, class_name, properties = {}) {
		if (element.classList.contains(class_name)) return;
		element.classList.add(class_name);
		set_properties(element, properties);
		this._marked.push(() => {
			element.classList.remove(class_name);
			for (const name of Object.keys(properties)) element.style.removeProperty(name);
		});
	}

	_clear() {
		for (const remove of this._marked.splice(0)) remove();
	}
}

const EVENTS = ["join", "leave", "update", "sync", "end"];

function set_properties(element, properties) {
	for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
}

/**
 * Return the element of a user.
 *
 * @param {string} user
 * @param {string} full_name
 * @param {string} text what it says about the user, also to those who do not see it
 */
export function avatar(user, full_name, text) {
	const one = document.createElement("span");
	one.className = "realtime-member";
	one.setAttribute("role", "listitem");
	one.innerHTML = frappe.avatar(user, "avatar-small", full_name);
	for (const child of one.querySelectorAll("[title]")) child.removeAttribute("title");
	one.title = text;
	// The picture and the letter in its place say nothing more.
	one.firstElementChild?.setAttribute("aria-hidden", "true");
	const hidden = document.createElement("span");
	hidden.className = "sr-only";
	hidden.textContent = text;
	one.append(hidden);
	return one;
}
