// What forms of the Desk do when their document is saved elsewhere.
//
// Frappe reloads a form without own changes a second after the event `doc_update`, whatever has been typed in this second, and says
// in a form with own changes that the document was modified, so that they can only be discarded. Here nothing that was typed is
// lost, and a form with own changes says who has saved which fields, and can take them over beside its own.

import { Api } from "./api.js";
import { control_of } from "./desk_fields.js";
import { compare, merge, snapshot } from "./desk_merge.js";

// Milliseconds without a further event before a form is reloaded, as in Frappe.
const RELOAD_DELAY = 1000;

// Fields that a notice names; there may be more.
const MAX_FIELDS = 5;

const SUBMITTED = 1;

export const STYLE = `
.realtime-saved {
	display: flex;
	flex-wrap: wrap;
	align-items: center;
	gap: 8px 16px;
	margin-block-end: 8px;
	padding: 8px 12px;
	border-radius: var(--border-radius-md, 8px);
	background: var(--alert-bg-warning, var(--bg-orange, Canvas));
	color: var(--alert-text-warning, var(--text-on-orange, CanvasText));
	font-size: var(--text-md, 13px);
}
.realtime-saved-text { flex: 1 1 20em; }
.realtime-saved-text > div { overflow-wrap: anywhere; }
.realtime-saved-who { font-weight: 600; }
@media print { .realtime-saved { display: none; } }
`;

/** Watches the forms of the page. */
export class SavedElsewhere {
	/** @param {(user: string) => string} name_of returns the full name of a user */
	constructor(name_of) {
		this._name_of = name_of;
		this._api = new Api("", null);
		// What the server had when a document was loaded or saved last, by the document's object.
		this._bases = new WeakMap();
		this._watched = new WeakSet();
		this._notices = new WeakMap();
		// Documents of which what was saved is being loaded; true if they were saved again meanwhile.
		this._loading = new WeakMap();
		// Forms with text in an input that is not in the document yet.
		this._typed = new WeakSet();
	}

	/** Begin to watch a form; called when it loads a document. */
	watch(form) {
		if (this._watched.has(form)) return;
		this._watched.add(form);
		const show_stock_message = form.show_conflict_message.bind(form);
		// Frappe calls both for `doc_update`, and when a form that was saved elsewhere is shown again.
		form.debounced_reload_doc = frappe.utils.debounce(() => this._reload(form), RELOAD_DELAY);
		form.show_conflict_message = () => {
			if (form.doc.__needs_refresh && form.doc.__unsaved) this._show(form, show_stock_message);
			else show_stock_message();
		};
		const { wrapper } = form;
		wrapper.addEventListener("input", ({ target }) => control_of(form, target) && this._typed.add(form));
		for (const event of ["change", "focusout"]) {
			wrapper.addEventListener(event, () => this._typed.delete(form));
		}
	}

	/** Remember what the server has; called before a form shows its document. */
	refresh(form) {
		if (form.is_new()) return;
		this._typed.delete(form);
		if (!form.is_dirty()) this._bases.set(form.doc, snapshot(form.doctype, form.doc));
		if (!form.doc.__needs_refresh) this._remove_notice(form);
	}

	_reload(form) {
		if (form.is_new()) return;
		if (this._typed.has(form)) form.dirty();
		if (form.is_dirty()) {
			form.doc.__needs_refresh = true;
			form.show_conflict_message();
		} else form.reload_doc();
	}

	async _show(form, show_stock_message) {
		const { doc } = form;
		if (this._loading.has(doc)) {
			this._loading.set(doc, true);
			return;
		}
		this._loading.set(doc, false);
		const saved = await this._load(doc);
		const is_old = this._loading.get(doc);
		this._loading.delete(doc);
		// Saved, reloaded or left meanwhile.
		if (form.doc !== doc || !doc.__needs_refresh || !doc.__unsaved) return;
		if (is_old) form.show_conflict_message();
		else if (!saved || !this._bases.has(doc)) show_stock_message();
		else this._compare(form, saved);
	}

	// The document as the server has it; null if it is deleted, may not be read any more, or the server does not answer.
	async _load({ doctype, name }) {
		try {
			return await this._api.doc(doctype, name);
		} catch {
			return null;
		}
	}

	_compare(form, saved) {
		const { doc, doctype } = form;
		const fields = compare(this._bases.get(doc), snapshot(doctype, doc), snapshot(doctype, saved));
		const has_same_status = saved.docstatus === doc.docstatus;
		if (saved.modified === doc.modified || (!fields.saved.length && has_same_status)) {
			// Nothing in it is new to this form.
			doc.modified = saved.modified;
			delete doc.__needs_refresh;
			this._remove_notice(form);
		} else this._show_notice(form, saved, fields, has_same_status);
	}

	_show_notice(form, saved, fields, has_same_status) {
		this._remove_notice(form);
		const text = element("div", "realtime-saved-text");
		text.append(element("div", "realtime-saved-who", this._what_happened(saved, has_same_status)));
		if (fields.saved.length) text.append(line(__("Changed: {0}.", [labels(form, fields.saved)])));
		if (has_same_status && fields.both.length) {
			const names = labels(form, fields.both);
			text.append(line(__("You have changed too: {0}. If you keep your changes, yours replace theirs.", [names])));
		}
		const notice = element("div", "realtime-saved");
		notice.setAttribute("role", "alert");
		notice.append(text, button(__("Discard My Changes and Reload"), "btn-default", () => form.reload_doc()));
		if (has_same_status) {
			notice.append(button(__("Keep My Changes"), "btn-primary", () => this._keep(form)));
		}
		// The head of the page stays in view while the form is scrolled.
		form.$wrapper.find(".page-head > .container").append(notice);
		this._notices.set(form, notice);
	}

	_what_happened({ doctype, docstatus, modified_by }, has_same_status) {
		const is_own = modified_by === frappe.session.user;
		const values = [this._name_of(modified_by), __(doctype)];
		if (has_same_status) {
			return is_own ? __("You have saved this document elsewhere.") : __("{0} has saved this document.", values);
		}
		return docstatus === SUBMITTED
			? __("{0} has submitted this {1}, so your changes cannot be kept.", values)
			: __("{0} has cancelled this {1}, so your changes cannot be kept.", values);
	}

	_remove_notice(form) {
		this._notices.get(form)?.remove();
		this._notices.delete(form);
	}

	async _keep(form) {
		const { doc, doctype, docname } = form;
		const controls = [...this._notices.get(form).querySelectorAll("button")];
		for (const control of controls) control.disabled = true;
		// It may have been saved once more.
		const saved = await this._load(doc);
		if (form.doc !== doc) return;
		if (!saved || saved.docstatus !== doc.docstatus) {
			for (const control of controls) control.disabled = false;
			if (saved) this._compare(form, saved);
			else frappe.show_alert({ message: __("The document could not be loaded."), indicator: "red" });
			return;
		}
		const base = snapshot(doctype, saved);
		const { own } = compare(this._bases.get(doc), snapshot(doctype, doc), base);
		const merged = merge(doc, saved, own);
		this._bases.set(merged, base);
		// As Frappe reloads a document, so that rows of tables are not mixed up.
		frappe.model.remove_from_locals(doctype, docname);
		frappe.model.sync(merged);
		form.refresh();
		form.dirty();
	}
}

function labels(form, fields) {
	const known = fields.map((field) => frappe.meta.get_docfield(form.doctype, field)).filter(Boolean);
	// Fields that the form never shows are named only if there are no others.
	const visible = known.filter(({ hidden }) => !hidden);
	const names = (visible.length ? visible : known).map(({ label, fieldname, parent }) => __(label || fieldname, null, parent));
	const more = names.length - MAX_FIELDS;
	return more > 0 ? __("{0} and {1} more", [names.slice(0, MAX_FIELDS).join(", "), more]) : names.join(", ");
}

function line(text) {
	return element("div", "", text);
}

function element(tag, class_name, text = "") {
	const made = document.createElement(tag);
	made.className = class_name;
	made.textContent = text;
	return made;
}

function button(text, class_name, on_click) {
	const made = element("button", `btn btn-xs ${class_name}`, text);
	made.type = "button";
	made.addEventListener("click", on_click);
	return made;
}
