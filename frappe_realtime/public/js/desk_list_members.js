// Shows in a list of the Desk who has which document open.
//
// The web process answers, because it decides which documents a user may know of. When to ask again follows from the presence of the
// DocType, in which forms and lists are members: the state of a form, `{form: NUMBER}`, changes with each document that it shows, and
// does not say which one that is.

import { is_shown } from "./desk_lists.js";

const METHOD = "/api/method/frappe_realtime.desk.members_of_documents";

// Rows about which a list asks, as many as the server answers for.
const MAX_ROWS = 100;

// Milliseconds between two questions of a page, and up to which the next one waits, so that not all lists ask at the same time.
const ASK_INTERVAL = 5000;
const ASK_SPREAD = 1000;

// Avatars in a row; the others are counted.
const MAX_AVATARS = 3;

const EVENTS = ["join", "leave", "update"];

export const STYLE = `
.realtime-row-members { display: inline-flex; flex: none; align-items: center; gap: 2px; margin-inline-end: 4px; }
@media print { .realtime-row-members { display: none; } }
`;

/** The list that is shown, and the page's membership in the DocType of the list or the form that is shown. */
export class ListMembers {
	/**
	 * @param {object} realtime `frappe.realtime`
	 * @param {Function} make_avatar returns the element of a user: `(user, full_name, text)`
	 */
	constructor(realtime, make_avatar) {
		this._realtime = realtime;
		this._make_avatar = make_avatar;
		this._presence = null;
		this._has_joined = false;
		this._forms = 0;
		this._list = null;
		// By name of a document: its users, and how many members it has.
		this._members = {};
		this._timer = null;
		this._last_asked = -Infinity;
		this._is_stale = false;
		// The numbers of the newest question, and of the newest one whose answer has come.
		this._asked = 0;
		this._answered = 0;
		this._on_change = (member, changes) => {
			if ("form" in (changes ?? member.state)) this._ask_soon();
		};
		document.addEventListener("visibilitychange", () => this._is_stale && this._ask_soon());
	}

	/**
	 * Extend the list views of the Desk.
	 *
	 * @param {Function} ListView `frappe.views.ListView`
	 */
	extend(ListView) {
		const members = this;
		const { setup_realtime_updates, render_list } = ListView.prototype;
		// Frappe calls it after each refresh, also if there was nothing to render.
		ListView.prototype.setup_realtime_updates = function () {
			members.show_list(this);
			return setup_realtime_updates.call(this);
		};
		ListView.prototype.render_list = function () {
			const rendered = render_list.call(this);
			if (members._list === this) members._draw();
			return rendered;
		};
	}

	/** Show who is where in a list, from now on. */
	show_list(list) {
		if (!is_shown(list)) return;
		if (list !== this._list) this._members = {};
		this._list = list;
		this._enter(list.doctype, { form: null });
		this._ask_soon();
	}

	/** Tell the lists of a DocType that this page shows a document of it. */
	show_form(form) {
		this._list = null;
		if (form.is_new()) this.leave();
		else this._enter(form.doctype, { form: (this._forms += 1) });
	}

	/** Be in no list and no form any more. */
	leave() {
		if (!this._presence) return;
		for (const event of EVENTS) this._presence.off(event, this._on_change);
		if (this._has_joined) this._presence.leave();
		else if (this._presence.wanted) this._presence.set({ form: null });
		this._presence = null;
	}

	_enter(doctype, state) {
		const presence = this._realtime.presence(doctype);
		if (presence !== this._presence) {
			this.leave();
			this._presence = presence;
			// Another part of the page may be in the place already, and stays there then.
			this._has_joined = !presence.wanted;
			for (const event of EVENTS) presence.on(event, this._on_change);
		}
		// Without it, the list asks only when it is refreshed.
		presence.join(state).catch(() => {});
	}

	_ask_soon() {
		if (!this._list || this._timer !== null) return;
		if (document.hidden) {
			this._is_stale = true;
			return;
		}
		const delay = Math.max(0, this._last_asked + ASK_INTERVAL - performance.now()) + Math.random() * ASK_SPREAD;
		this._timer = setTimeout(() => {
			this._timer = null;
			this._ask();
		}, delay);
	}

	async _ask() {
		const list = this._list;
		if (!list || !is_shown(list)) return;
		this._is_stale = false;
		this._last_asked = performance.now();
		const number = (this._asked += 1);
		const names = list.data.slice(0, MAX_ROWS).map(({ name }) => name);
		const members = names.length ? await ask({ doctype: list.doctype, names }) : {};
		// An answer that takes longer than the interval may come after a newer one.
		if (list !== this._list || number < this._answered) return;
		this._answered = number;
		this._members = members;
		this._draw();
	}

	_draw() {
		const list = this._list;
		// The header is a container too, without a row.
		const rows = list.$result.find(".list-row-container > .list-row").get();
		for (const row of rows) row.querySelector(".realtime-row-members")?.remove();
		if (rows.length !== list.data.length) return;
		list.data.forEach(({ name }, index) => {
			const subject = rows[index].querySelector(".list-subject");
			const found = Object.hasOwn(this._members, name) ? this._members[name] : null;
			if (subject && found) this._draw_row(subject, found);
		});
	}

	_draw_row(subject, { users, count }) {
		const others = users.filter(({ user }) => user !== frappe.session.user);
		if (!others.length) return;
		const element = document.createElement("span");
		element.className = "realtime-row-members";
		element.setAttribute("role", "list");
		const shown = others.slice(0, MAX_AVATARS);
		for (const { user, full_name } of shown) {
			element.append(this._make_avatar(user, full_name, __("{0} has this open", [full_name])));
		}
		const more = count - shown.length - (users.length - others.length);
		if (more > 0) {
			const text = document.createElement("span");
			text.className = "realtime-more";
			text.setAttribute("role", "listitem");
			text.textContent = `+${more}`;
			element.append(text);
		}
		// Before the title, which is shortened if the column is narrow.
		const checkbox = subject.querySelector(".select-like");
		if (checkbox) checkbox.after(element);
		else subject.prepend(element);
	}
}

// By POST, because a URL has no room for so many names. Not by `frappe.call`, which shows errors in a dialog.
async function ask(body) {
	const headers = {
		Accept: "application/json",
		"Content-Type": "application/json",
		"X-Frappe-CSRF-Token": frappe.csrf_token,
	};
	try {
		const answer = await fetch(METHOD, { method: "POST", headers, body: JSON.stringify(body) });
		return answer.ok ? (await answer.json()).message : {};
	} catch {
		// The next question may be answered.
		return {};
	}
}
