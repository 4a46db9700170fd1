// Extends the Desk's own `frappe.realtime` in place: the same object, the same methods, the same socket.
//
// What Frappe and other apps do with it goes on to work. It stays connected for as long as the page lives,
// subscribes again after a reconnect, and has `once`, `emitWithAck` and `status` in addition.

import { mark_requests, show_progress } from "./desk_progress.js";
import { show_status } from "./desk_sign.js";
import { close_left_documents, needed_events } from "./desk_viewers.js";
import { Connection, OWN_EVENTS, STATUS_EVENT } from "./realtime.js";

function extend(realtime) {
	const { init, off, emit, process_response } = realtime;
	const stock = { init, off, emit, process_response };
	const connection = new Connection();
	const is_needed = needed_events();

	function attach() {
		connection.attach(realtime.socket);
		// The first listener is Frappe's own: it shows the bar in every tab.
		realtime.socket.off("progress", realtime.socket.listeners("progress")[0]);
		connection.on("progress", show_progress);
		connection.on("realtime_handlers_error", ({ app, error, traceback }) => {
			// Only where developer_mode is set: a handlers file that was just saved cannot be loaded.
			console.error(`Realtime handlers of ${app}: ${error}`, traceback);
		});
		if (window.app) connection.on(STATUS_EVENT, show_status);
	}

	function listen(how, event, callback) {
		if (!OWN_EVENTS.includes(event)) {
			if (!realtime.socket) return;
			realtime.connect();
		}
		connection[how](event, callback);
	}

	Object.assign(realtime, {
		init(port, lazy_connect = false) {
			if (this.socket) return;
			// Always lazily, so that the socket has its options before it connects for the first time.
			stock.init.call(this, port, true);
			if (!this.socket) return;
			attach();
			if (frappe.boot.realtime_websocket_only) this.socket.io.opts.transports = ["websocket"];
			if (!lazy_connect) this.connect();
		},

		on(event, callback) {
			listen("on", event, callback);
		},

		once(event, callback) {
			listen("once", event, callback);
		},

		off(event, callback) {
			if (OWN_EVENTS.includes(event)) connection.off(event, callback);
			else if (callback || !this.socket) stock.off.call(this, event, callback);
			else {
				// Frappe's own off() without a callback takes the oldest listener away: it looks for one whose `fn` is
				// undefined, which ours never is. Forms and lists rely on it when they replace theirs.
				const [oldest] = this.socket.listeners(event);
				if (oldest) this.socket.off(event, oldest);
			}
		},

		emit(event, ...args) {
			// Where realtime is disabled, lists and forms ask for their rooms all the same: on v15 and v16 in vain and aloud.
			if (this.socket && is_needed(event, ...args)) stock.emit.call(this, event, ...args);
		},

		emitWithAck(event, ...args) {
			if (!this.socket) return Promise.reject(new Error(`"${event}" was not sent: realtime is disabled`));
			this.connect();
			return connection.emitWithAck(event, ...args);
		},

		doc_subscribe(doctype, docname) {
			const key = `${doctype}:${docname}`;
			if (this.open_docs.has(key)) return;
			this.emit("doc_subscribe", doctype, docname);
			this.open_docs.add(key);
		},

		setup_listeners() {
			this.socket.on("task_status_change", (data) => {
				this.process_response(data, data?.status?.toLowerCase());
			});
			this.socket.on("task_progress", (data) => this.process_response(data, "progress"));
		},

		process_response(data, method) {
			// Most tasks are followed by somebody else's listener.
			if (data && this.open_tasks[data.task_id]) stock.process_response.call(this, data, method);
		},
	});
	Object.defineProperty(realtime, "status", { get: () => connection.status });

	if (realtime.socket) attach();
	if (window.jQuery) {
		mark_requests(window.jQuery);
		close_left_documents(window.jQuery, realtime);
	}
}

if (window.frappe?.realtime?.init) extend(window.frappe.realtime);
