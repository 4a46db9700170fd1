// A stand-in for the part of the Desk that the binding extends: `frappe.realtime` and `frappe.show_progress`.
//
// It behaves as Frappe's does in v15 to v17 where that matters here, shortcomings included: three attempts to
// reconnect, one subscription in a second, task listeners that do not reach their object.

class StandInForRealTimeClient {
	open_tasks = {};
	open_docs = new Set();

	init(port = 9000, lazy_connect = false) {
		if (frappe.boot.disable_async || this.socket) return;
		this.lazy_connect = lazy_connect;
		this.socket = io(this.get_host(port), {
			withCredentials: true,
			reconnectionAttempts: 3,
			autoConnect: !lazy_connect,
		});
		this.socket.on("progress", () => seen.push("the Desk's own listener for progress"));
		this.setup_listeners();
		const with_document = (method) => (event, frm) => {
			if (frm.doc && !frm.is_new()) this[method](frm.doctype, frm.docname);
		};
		$(document).on("form-load form-rename", with_document("doc_subscribe"));
		$(document).on("form-refresh", with_document("doc_open"));
		$(document).on("form-unload", with_document("doc_close"));
	}

	get_host(port) {
		const { protocol, hostname, origin } = location;
		const host = window.dev_server
			? `${protocol}//${hostname}:${frappe.boot.socketio_port || port}`
			: origin;
		return `${host}/${frappe.boot.sitename}`;
	}

	connect() {
		if (!this.lazy_connect) return;
		this.socket.connect();
		this.lazy_connect = false;
	}

	on(event, callback) {
		if (!this.socket) return;
		this.connect();
		this.socket.on(event, callback);
	}

	off(event, callback) {
		if (this.socket) this.socket.off(event, callback);
	}

	emit(event, ...args) {
		this.connect();
		this.socket.emit(event, ...args);
	}

	publish(event, message) {
		if (this.socket) this.emit(event, message);
	}

	subscribe(task_id, opts) {
		this.emit("task_subscribe", task_id);
		this.open_tasks[task_id] = opts;
	}

	doc_subscribe(doctype, docname) {
		if (this.throttled) return;
		this.throttled = true;
		this.emit("doc_subscribe", doctype, docname);
	}

	doc_unsubscribe(doctype, docname) {
		this.emit("doc_unsubscribe", doctype, docname);
		return this.open_docs.delete(`${doctype}:${docname}`);
	}

	setup_listeners() {
		this.socket.on("task_progress", function (data) {
			this.process_response(data, "progress");
		});
	}

	process_response(data, method) {
		const opts = this.open_tasks[data.task_id];
		if (opts[method]) opts[method](data);
	}
}

for (const [method, event] of [
	["doctype_subscribe", "doctype_subscribe"],
	["doctype_unsubscribe", "doctype_unsubscribe"],
	["task_subscribe", "task_subscribe"],
	["task_unsubscribe", "task_unsubscribe"],
	["doc_open", "doc_open"],
	["doc_close", "doc_close"],
]) {
	StandInForRealTimeClient.prototype[method] = function (...args) {
		this.emit(event, ...args);
	};
}

frappe.realtime = new StandInForRealTimeClient();
window.stock = frappe.realtime;
window.__ = (text, values) => text.replace(/\{(\d)\}/g, (found, index) => values?.[index] ?? found);

// A dialog of the Desk, as far as a progress bar needs it: it takes a while to appear, and cannot be hidden until then.
class Dialog {
	constructor(title) {
		this.title = title;
		this.is_visible = true;
		this.display = false;
		this.element = document.createElement("dialog");
		this.element.open = true;
		document.body.append(this.element);
		const target = new EventTarget();
		this.$wrapper = {
			on: (event, callback) => target.addEventListener(event, callback),
			one: (event, callback) => target.addEventListener(event, callback, { once: true }),
		};
		this.say = (event) => target.dispatchEvent(new Event(event));
		setTimeout(() => {
			this.display = true;
			this.say("shown.bs.modal");
		}, 700);
	}

	hide() {
		this.is_visible = false;
		if (this.display) this.close();
	}

	// What the user does, of which `is_visible` is not told.
	close() {
		this.display = false;
		this.element.remove();
		this.say("hidden.bs.modal");
	}
}

// Pages of the website have no dialogs.
if (window.app) frappe.ui = { Dialog };

frappe.show_progress = (title, count, total) => {
	let dialog = frappe.cur_progress;
	if (!(dialog?.title === title && dialog.is_visible)) dialog = new frappe.ui.Dialog(title);
	dialog.percent = Math.trunc((100 * count) / total);
	dialog.element.textContent = `${title}: ${dialog.percent}`;
	seen.push(dialog.element.textContent);
	frappe.cur_progress = dialog;
	return dialog;
};

// A list view of the Desk, as far as updates concern it. As in v15 to v17, it fetches the rows that updates name once none has
// arrived for a while, and raises an error for an update without a name. A fetch of the same page within three seconds is left out.
class ListView {
	constructor(doctype, names = []) {
		this.doctype = doctype;
		this.data = names.map((name) => ({ name }));
		this.$result = $("<div>").appendTo(document.body);
		this.last_args = null;
		let timer;
		const process = this.process_document_refreshes.bind(this);
		this.debounced_refresh = () => {
			clearTimeout(timer);
			timer = setTimeout(process, 50);
		};
		this.setup_realtime_updates();
	}

	setup_realtime_updates() {
		this.pending_document_refreshes = [];
		if (this.realtime_events_setup) return;
		frappe.realtime.doctype_subscribe(this.doctype);
		frappe.realtime.off("list_update");
		frappe.realtime.on("list_update", (update) => {
			if (update?.doctype !== this.doctype) return;
			this.pending_document_refreshes.push(update);
			this.debounced_refresh();
		});
		this.realtime_events_setup = true;
	}

	render_list() {
		this.$result.html('<div class="list-row-container"><header class="list-row-head"></header></div>');
		for (const { name } of this.data) {
			const subject = `<div class="level-left"><div class="list-subject">${name}</div></div>`;
			this.$result.append(`<div class="list-row-container"><div class="level list-row">${subject}</div></div>`);
		}
	}

	disable_realtime_updates() {
		frappe.realtime.doctype_unsubscribe(this.doctype);
		this.realtime_events_setup = false;
	}

	process_document_refreshes() {
		if (!this.pending_document_refreshes.length) return;
		const [view, doctype] = frappe.get_route();
		if (view !== "List" || window.cur_list?.doctype !== doctype) {
			this.pending_document_refreshes = [];
			this.disable_realtime_updates();
			return;
		}
		const names = this.pending_document_refreshes.map(({ name }) => name);
		this.pending_document_refreshes = [];
		// Rows that the filters of the list do not let through are removed by their names.
		seen.push(["rows", names.map((name) => name.replace(/'/g, "\\'"))]);
	}

	async refresh() {
		if (this.last_args === this.doctype) return;
		this.last_args = this.doctype;
		setTimeout(() => (this.last_args = null), 3000);
		seen.push(["all rows", this.doctype]);
		this.setup_realtime_updates();
	}
}

if (window.app) {
	frappe.views = { ListView };
	frappe.get_route = () => window.route;
	window.cur_list = null;
}

document.addEventListener("DOMContentLoaded", () => {
	frappe.realtime.init(undefined, !window.app);
});
