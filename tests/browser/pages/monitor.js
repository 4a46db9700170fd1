// Stand-ins for what the page "Realtime" uses of the Desk, and a connection whose sidecar the tests play.
//
// Like Frappe, it parses titles and messages of dialogs as HTML.

window.__ = (text, values = []) => text.replace(/\{(\d)\}/g, (_, index) => values[index]);
window.format_number = (value, format, decimals) => Number(value).toFixed(decimals);
window.moment = { unix: (time) => ({ format: () => new Date(time * 1000).toISOString() }) };

const wrapper = document.getElementById("page");

// What the page has done, in order: `[what, ...]`.
window.seen = [];

class StandInForPage {
	constructor() {
		this.main = $(".layout-main-section");
		this.actions = {};
	}

	set_indicator(label, color) {
		this.indicator = [label, color];
	}

	set_primary_action(label, action) {
		this.actions[label] = action;
		return $("<button>");
	}

	add_menu_item(label, action) {
		this.actions[label] = action;
	}
}

class StandInForDialog {
	constructor({ title }) {
		this.element = document.createElement("dialog");
		this.element.innerHTML = `<h4>${title}</h4><div class="body"></div><footer></footer>`;
		this.body = this.element.querySelector(".body");
	}

	show() {
		document.body.append(this.element);
		this.element.open = true;
	}

	set_primary_action(label, action) {
		this.primary = $("<button>").text(label).on("click", action).appendTo($("footer", this.element));
	}

	get_primary_btn() {
		return this.primary;
	}

	set_secondary_action_label(label) {
		this.secondary = $("<button>").text(label).appendTo($("footer", this.element));
	}

	set_secondary_action(action) {
		this.secondary.on("click", action);
	}
}

class StandInForChart {
	constructor(parent, { data }) {
		(window.charts ??= []).push(this);
		this.data = data;
	}

	update(data) {
		this.data = data;
	}
}

class StandInForRealTimeClient {
	constructor() {
		this.socket = {};
		this.status = "connected";
		this.listeners = {};
		// By event: what the sidecar answers, or a function of the payload; undefined for no answer.
		this.answers = {};
	}

	on(event, callback) {
		(this.listeners[event] ??= new Set()).add(callback);
	}

	off(event, callback) {
		this.listeners[event]?.delete(callback);
	}

	emit(event, payload) {
		window.seen.push([event, payload]);
	}

	emitWithAck(event, payload) {
		window.seen.push([event, payload]);
		const answer = this.answers[event];
		const value = typeof answer === "function" ? answer(payload) : answer;
		return value === undefined
			? new Promise((_, reject) => setTimeout(() => reject(new Error("not answered")), 20_000))
			: Promise.resolve(value);
	}

	receive(event, message) {
		for (const listener of [...(this.listeners[event] ?? [])]) listener(message);
	}

	change_status(status) {
		this.status = status;
		this.receive("realtime_status", status);
	}
}

function parse(html) {
	const holder = document.createElement("div");
	holder.className = "message";
	holder.innerHTML = html;
	document.body.append(holder);
	return holder.textContent;
}

window.frappe = {
	Chart: StandInForChart,
	container: { page: wrapper },
	datetime: { get_user_date_fmt: () => "yyyy-mm-dd", get_user_time_fmt: () => "HH:mm:ss" },
	realtime: new StandInForRealTimeClient(),
	ui: { Dialog: StandInForDialog },
	utils: {
		escape_html: (text) => $("<i>").text(text).html(),
		get_random: () => "random",
	},
	confirm: (question, then) => {
		window.seen.push(["confirm", parse(question)]);
		then();
	},
	msgprint: ({ title, message }) => window.seen.push(["msgprint", parse(title), parse(message)]),
	prompt: (fields, then) => then({ user: window.answer_to_prompt }),
	provide: (name) => (window.frappe[name.split(".")[1]] ??= {}),
	show_alert: ({ message, indicator }) => window.seen.push(["alert", parse(message), indicator]),
	xcall: (method, args) => {
		window.seen.push([method, args]);
		return Promise.resolve();
	},
};

wrapper.page = new StandInForPage();
