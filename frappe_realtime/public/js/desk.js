// Extends the Desk's own `frappe.realtime` in place: the same object, the same methods, the same socket.
//
// Code of Frappe and of other apps that uses it works as before. In addition it reconnects for as long as the page
// exists, subscribes again after a reconnect, and has `once`, `emitWithAck` and `status`.

import { collaborate } from "./desk_collaboration.js";
import { refresh_after_unnamed_updates } from "./desk_lists.js";
import { add_page_header, show_progress } from "./desk_progress.js";
import { StatusSign } from "./desk_status.js";
import { close_previous_documents, make_close_filter } from "./desk_viewers.js";
import { Connection, LOCAL_EVENTS, STATUS_EVENT } from "./realtime.js";

function extend(realtime) {
	const { init, off, emit, process_response } = realtime;
	const stock = { init, off, emit, process_response };
	const connection = new Connection();
	const is_needed = make_close_filter();
	const sign = window.app && new StatusSign(() => connection.diagnose());

	function attach() {
		connection.attach(realtime.socket);
		// The first listener is Frappe's own, which shows the bar in every tab.
		realtime.socket.off("progress", realtime.socket.listeners("progress")[0]);
		connection.on("progress", show_progress);
		connection.keep_listening("realtime_handlers_error", ({ app, error, traceback }) => {
			// Only with developer_mode: a handlers file could not be loaded.
			console.error(`Realtime handlers of ${app}: ${error}`, traceback);
		});
		if (sign) connection.keep_listening(STATUS_EVENT, (status) => sign.update(status));
	}

	function listen(method, event, callback, options) {
		if (!LOCAL_EVENTS.includes(event)) {
			if (!realtime.socket) return;
			realtime.connect();
		}
		connection[method](event, callback, options);
	}

	function subscribe(event, args, options) {
		if (!realtime.socket) return undefined;
		realtime.connect();
		return connection[event](...args, options);
	}

	Object.assign(realtime, {
		init(port, lazy_connect = false) {
			if (this.socket) return;
			// Always lazy, so that the socket has its options before its first connection.
			stock.init.call(this, port, true);
			if (!this.socket) return;
			attach();
			if (frappe.boot.realtime_websocket_only) this.socket.io.opts.transports = ["websocket"];
			if (frappe.boot.realtime_desk_collaboration) collaborate(window.jQuery, this);
			if (lazy_connect) return;
			sign?.update(connection.status);
			this.connect();
		},

		on(event, callback, options) {
			listen("on", event, callback, options);
		},

		once(event, callback) {
			listen("once", event, callback);
		},

		off(event, callback) {
			// Frappe's off() without a callback removes the oldest listener: it passes undefined to socket.off(), which
			// removes the first listener without `fn`. Ours have `fn`. Forms and lists rely on it to replace theirs.
			const removed = callback ?? connection.listeners(event)[0];
			if (!removed) return;
			if (LOCAL_EVENTS.includes(event)) connection.off(event, removed);
			else stock.off.call(this, event, removed);
		},

		emit(event, ...args) {
			// With realtime disabled, lists and forms subscribe all the same, which raises an error on v15 and v16.
			if (!this.socket || !is_needed(event, ...args)) return;
			if (connection.count(event, args)) stock.emit.call(this, event, ...args);
		},

		emitWithAck(event, ...args) {
			if (!this.socket) return Promise.reject(new Error(`"${event}" was not sent: realtime is disabled`));
			this.connect();
			return connection.emitWithAck(event, ...args);
		},

		diagnose() {
			return connection.diagnose();
		},

		presence(doctype, name) {
			if (!this.socket) throw new Error("there is no presence: realtime is disabled");
			this.connect();
			return connection.presence(doctype, name);
		},

		// Forms call it again and again for the same document, and never end it. It is sent each time: the server takes a page out of the
		// room of a document that is renamed or deleted, or that the user may not read any more, and does not say so.
		doc_subscribe(doctype, docname, options) {
			this.open_docs.add(`${doctype}:${docname}`);
			return subscribe("doc_subscribe", [doctype, docname], options);
		},

		doc_unsubscribe(doctype, docname) {
			if (!this.socket || !connection.count("doc_unsubscribe", [doctype, docname])) return false;
			stock.emit.call(this, "doc_unsubscribe", doctype, docname);
			return this.open_docs.delete(`${doctype}:${docname}`);
		},

		doctype_subscribe(doctype, options) {
			guard_lists(frappe.views?.ListView?.prototype);
			// Frappe's rename dialog passes the name of a document.
			return subscribe("doctype_subscribe", [doctype], typeof options === "object" ? options : undefined);
		},

		task_subscribe(task_id, options) {
			return subscribe("task_subscribe", [task_id], options);
		},

		setup_listeners() {
			this.socket.on("task_status_change", (data) => {
				this.process_response(data, data?.status?.toLowerCase());
			});
			this.socket.on("task_progress", (data) => this.process_response(data, "progress"));
		},

		process_response(data, method) {
			// Tasks that are not in open_tasks have other listeners.
			if (data && this.open_tasks[data.task_id]) stock.process_response.call(this, data, method);
		},
	});
	Object.defineProperty(realtime, "status", { get: () => connection.status });

	if (realtime.socket) attach();
	// Website pages have no lists.
	if (frappe.views?.ListView) refresh_after_unnamed_updates(frappe.views.ListView);
	if (window.jQuery) {
		add_page_header(window.jQuery);
		close_previous_documents(window.jQuery, realtime);
	}
}

// A list that is not shown ends its subscription with each update that it receives, also after it has ended it: then the subscription is
// that of another part of the page.
function guard_lists(list) {
	if (!list?.disable_realtime_updates || list.disable_realtime_updates.is_guarded) return;
	const { disable_realtime_updates } = list;
	list.disable_realtime_updates = function () {
		if (this.realtime_events_setup) disable_realtime_updates.call(this);
	};
	list.disable_realtime_updates.is_guarded = true;
}

if (window.frappe?.realtime?.init) extend(window.frappe.realtime);
