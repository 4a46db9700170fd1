// A stand-in for the forms of the Desk, as far as users who edit the same document concern them.
//
// It behaves as Frappe's does in v15 to v17 where that matters here: what `doc_update` does with a form, the events of a form on
// the document, the controls with their elements, and documents in `locals`, loaded from the REST API of the page's site.
// Only pages whose `frappe.boot` has `user_name` have it.

if (frappe.boot.user_name) {
	const META = {
		ToDo: [
			{ fieldname: "description", fieldtype: "Text", label: "Description" },
			{ fieldname: "priority", fieldtype: "Select", label: "Priority" },
			{ fieldname: "hours", fieldtype: "Float", label: "Hours" },
			{ fieldname: "total", fieldtype: "Float", label: "Total", hidden: 1 },
			{ fieldname: "section", fieldtype: "Section Break", label: "More" },
			{ fieldname: "secret", fieldtype: "Data", label: "Secret", read_only: 1 },
			{ fieldname: "steps", fieldtype: "Table", label: "Steps", options: "ToDo Step" },
		],
		"ToDo Step": [
			{ fieldname: "step", fieldtype: "Data", label: "Step" },
			{ fieldname: "minutes", fieldtype: "Int", label: "Minutes" },
		],
	};

	window.locals = {};
	window.cur_frm = null;
	frappe.session = { user: frappe.boot.user_name };
	frappe.user_info = (user) => ({ fullname: user });
	frappe.get_palette = () => ["--blue-avatar-bg", "--blue-avatar-color"];
	frappe.avatar = (user, css_class, title) =>
		`<span class="avatar ${css_class}" title="${title}"><div class="avatar-frame" title="${title}">${title[0]}</div></span>`;
	frappe.utils = {
		debounce(callback, delay) {
			let timer;
			return () => {
				clearTimeout(timer);
				timer = setTimeout(callback, delay);
			};
		},
	};
	frappe.show_alert = ({ message }) => seen.push(["alert", message]);
	frappe.get_meta = (doctype) => META[doctype] && { fields: META[doctype] };
	frappe.meta = { get_docfield: (doctype, name) => META[doctype].find(({ fieldname }) => fieldname === name) };
	frappe.model = {
		table_fields: ["Table", "Table MultiSelect"],
		no_value_type: ["Section Break", "Column Break", "Table", "Table MultiSelect", "Button", "HTML"],
		remove_from_locals(doctype, name) {
			delete window.locals[doctype]?.[name];
		},
		sync(doc) {
			(window.locals[doc.doctype] ??= {})[doc.name] = doc;
		},
	};

	frappe.container = {
		page: null,
		change_to(page) {
			if (this.page === page) return;
			if (this.page) $(this.page).hide().trigger("hide");
			this.page = page;
			$(page).show();
		},
	};

	async function load(doctype, name) {
		const answer = await fetch(`/api/resource/${doctype}/${name}`);
		frappe.model.sync((await answer.json()).data);
	}

	class Control {
		constructor(frm, df, doc, parent) {
			Object.assign(this, { frm, df, doc });
			this.disp_status = df.read_only ? "Read" : "Write";
			this.wrapper = document.createElement("div");
			this.wrapper.className = "frappe-control";
			this.wrapper.dataset.fieldname = df.fieldname;
			this.wrapper.fieldobj = this;
			this.$wrapper = $(this.wrapper);
			parent.append(this.wrapper);
			if (df.fieldtype === "Table") this.add_grid();
			else this.add_input();
		}

		add_input() {
			this.wrapper.innerHTML = `<label>${this.df.label}</label><div class="control-input-wrapper"><input></div>`;
			this.input = this.wrapper.querySelector("input");
			this.input.setAttribute("aria-label", this.df.label);
			this.input.value = this.doc[this.df.fieldname] ?? "";
			this.input.addEventListener("change", () => {
				this.doc[this.df.fieldname] = this.input.value;
				this.frm.dirty();
			});
		}

		add_grid() {
			this.wrapper.innerHTML = '<label></label><div class="form-grid"></div>';
			const docfields = META[this.df.options];
			const grid_rows = (this.doc[this.df.fieldname] ?? []).map((doc) => {
				const row = { doc, docfields, frm: this.frm, columns: {} };
				for (const df of docfields) {
					const cell = document.createElement("div");
					cell.className = "grid-static-col";
					this.wrapper.querySelector(".form-grid").append(cell);
					row.columns[df.fieldname] = $(cell);
					new Control(this.frm, df, doc, cell);
				}
				return row;
			});
			this.grid = { grid_rows };
			for (const row of grid_rows) $(this.frm.wrapper).trigger("grid-row-render", [row]);
		}
	}

	class Form {
		constructor(doctype) {
			this.doctype = doctype;
			this.wrapper = document.createElement("div");
			this.$wrapper = $(this.wrapper);
			this.wrapper.innerHTML = `
				<div class="page-head"><div class="container"><div class="form-viewers"></div></div></div>
				<div class="form-body"></div>
				<textarea aria-label="Comment"></textarea>`;
			this.$wrapper.hide().appendTo(document.body);
			this.viewers = { parent: this.$wrapper.find(".form-viewers") };
			this.debounced_reload_doc = frappe.utils.debounce(() => this.reload_doc(), 1000);
			this.fields_dict = {};
		}

		async open(docname) {
			this.docname = docname;
			if (!window.locals[this.doctype]?.[docname]) await load(this.doctype, docname);
			window.route = ["Form", this.doctype, docname];
			frappe.container.change_to(this.wrapper);
			this.refresh();
		}

		// Frappe calls it also when the form is not shown, and sets `cur_frm` then, too.
		refresh() {
			window.cur_frm = this;
			this.doc = window.locals[this.doctype][this.docname];
			if (!this.is_loaded) {
				$(document).trigger("form-load", [this]);
				this.$wrapper.on("hide", () => $(document).trigger("form-unload", [this]));
			}
			this.is_loaded = true;
			$(document).trigger("form-refresh", [this]);
			const body = this.wrapper.querySelector(".form-body");
			// The elements of controls stay, the values are set again.
			if (!Object.keys(this.fields_dict).length) {
				for (const df of META[this.doctype]) {
					if (df.fieldtype !== "Section Break") this.fields_dict[df.fieldname] = new Control(this, df, this.doc, body);
				}
			}
			for (const control of Object.values(this.fields_dict)) {
				control.doc = this.doc;
				if (control.input) control.input.value = this.doc[control.df.fieldname] ?? "";
			}
			this.show_conflict_message();
		}

		is_new() {
			return Boolean(this.doc.__islocal);
		}

		is_dirty() {
			return Boolean(this.doc.__unsaved);
		}

		dirty() {
			this.doc.__unsaved = 1;
		}

		async reload_doc() {
			seen.push("reload");
			frappe.model.remove_from_locals(this.doctype, this.docname);
			await load(this.doctype, this.docname);
			this.refresh();
		}

		show_conflict_message() {
			if (!this.doc.__needs_refresh) return;
			if (this.doc.__unsaved) seen.push("the Desk's own message");
			else this.debounced_reload_doc();
		}
	}

	frappe.open_form = async (doctype, docname) => {
		const form = new Form(doctype);
		await form.open(docname);
		return form;
	};

	document.addEventListener("DOMContentLoaded", () => {
		frappe.realtime.on("doc_update", ({ doctype, name, modified }) => {
			const doc = window.locals[doctype]?.[name];
			if (!doc || window.cur_frm?.doc !== doc || modified === doc.modified) return;
			if (window.cur_frm.is_dirty()) {
				doc.__needs_refresh = true;
				window.cur_frm.show_conflict_message();
			} else window.cur_frm.debounced_reload_doc();
		});
	});
}
