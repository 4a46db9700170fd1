// The page of the demo. It receives every change through the browser client that ships with the app.

import { connect, page_id, PAGE_HEADER, STATUS_EVENT } from "/assets/frappe_realtime/js/realtime.js";
import { io } from "/assets/socket.io.esm.min.js";

const DOCTYPE = "Sales Order";
// Events that the page shows in its own way; others were published from a terminal, and are shown as a toast too.
const SHOWN_EVENTS = /^(doc_update|list_update|progress|chat_|pong)/;
// Events between the server and its clients, such as the one that carries the offset only.
const INTERNAL_PREFIX = "frappe_realtime:";
const FEED_LENGTH = 40;
// The last changes of an order that are shown, also those from before the page was opened.
const ACTIVITY = 4;
const FIELDS = ["delivery", "note"];

const $ = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user");

let token = null;
let users = {};
let orders = {};
let steps = [];
let current = null;
let realtime = null;
let here = null; // the presence of the current order
let chat = null; // the presence of its chat
let is_live = false; // whether what the order has was sent, so that what comes now is new

if (user) open_desk();
else show_welcome();

async function show_welcome() {
	({ users } = await call("demo.state"));
	$("people").append(
		...Object.entries(users).map(([name, { full_name, role }]) => {
			const link = element("a", { href: `/?user=${encodeURIComponent(name)}`, target: "_blank" });
			const text = element("span");
			text.append(element("strong", {}, `Log in as ${full_name.split(" ")[0]}`), element("small", { className: "quiet" }, role));
			link.append(avatar(name), text);
			const item = element("li");
			item.append(link);
			return item;
		})
	);
	$("welcome").hidden = false;
}

async function open_desk() {
	({ token } = await call("demo.log_in", { user }));
	const state = await call("demo.state");
	({ users, orders, steps } = state);
	document.title = `${users[user].full_name} · frappe_realtime demo`;
	$("me").append(avatar(user), users[user].full_name);
	const other = Object.keys(users).find((name) => name !== user);
	$("other").href = `/?user=${encodeURIComponent(other)}`;
	$("other").textContent = `Open ${users[other].full_name}'s window`;
	$("command").textContent = state.command.replace("USER", user);
	add_orders();
	show_orders();

	realtime = await connect({
		io,
		site: state.site,
		url: `${location.protocol}//${location.hostname}:${state.realtime_port}`,
		auth: { token },
	});
	listen();
	$("desk").hidden = false;
	realtime.doctype_subscribe(DOCTYPE);
	open_order(Object.keys(orders)[0]);
}

function listen() {
	realtime.on(STATUS_EVENT, show_status);
	show_status(realtime.status);
	realtime.socket.onAny(show_event);

	realtime.on("list_update", ({ name, step }) => {
		orders[name].step = step;
		show_orders();
	});
	realtime.on("doc_update", (change) => {
		const { name, step, delivery, note, by, action } = change;
		Object.assign(orders[name], { step, delivery, note });
		if (name !== current) return;
		show_order();
		show_change(change);
		if (is_live && by !== user) toast(`${users[by].full_name} ${action}: ${name}`);
	});
	realtime.progress(({ percent, description }) => {
		$("bar").style.width = `${percent}%`;
		$("bar").parentElement.setAttribute("aria-valuenow", percent);
		$("progress").textContent = percent < 100 ? description : "Done.";
		$("start").disabled = percent < 100;
	});
	realtime.on("chat_message", (message) => {
		if (message.name === current) show_message(message);
	});
	// The client subscribes to the rooms of Frappe's events, and joins places, again. The room of the chat is the page's own.
	realtime.socket.on("connect", () => {
		if (current && !realtime.socket.recovered) open_chat();
	});
}

// A handler lets this page into the room of the chat, and so into its presence.
async function open_chat() {
	const name = current;
	const { room } = await realtime.emitWithAck("chat_open", DOCTYPE, name);
	if (name === current) watch((chat = realtime.presence({ room })), show_typing);
}

// Call `show` now and after each change of a place.
function watch(place, show) {
	for (const event of ["sync", "join", "leave", "update"]) place.off(event).on(event, () => show(place));
	show(place);
}

$("advance").onclick = () => call("demo.advance", { name: current });
$("start").onclick = () => {
	$("start").disabled = true;
	call("demo.start_job");
};
$("copy").onclick = async () => {
	await navigator.clipboard.writeText($("command").textContent);
	toast("Copied. Run it in the folder where you started the demo.");
};
for (const field of FIELDS) {
	$(field).onfocus = () => here.set({ field });
	$(field).onblur = () => here.set({ field: null });
	$(field).onchange = () => call("demo.set_value", { name: current, field, value: $(field).value });
}
$("text").oninput = () => chat?.me && chat.set({ typing: $("text").value ? true : null }, { ttl: 5 });
$("compose").onsubmit = async (event) => {
	event.preventDefault();
	const text = $("text").value.trim();
	if (!text) return;
	const answer = await realtime.emitWithAck("chat_send", DOCTYPE, current, text);
	if (answer?.error) return toast(answer.error);
	$("text").value = "";
};

function open_order(name) {
	if (current) {
		here.leave();
		realtime.doc_unsubscribe(DOCTYPE, current);
		realtime.emit("chat_close", DOCTYPE, current);
	}
	current = name;
	show_orders();
	$("activity").replaceChildren();
	show_order();
	for (const field of FIELDS) $(field).value = orders[name][field];
	here = realtime.presence(DOCTYPE, name);
	chat = null;
	$("messages").replaceChildren();
	$("typing").textContent = "";
	is_live = false;
	realtime
		.doc_subscribe(DOCTYPE, name, { rewind: ACTIVITY })
		.catch(({ message }) => toast(message))
		.finally(() => (is_live ||= name === current));
	watch(here, show_present);
	here.join();
	if (realtime.status === "connected") open_chat();
}

function add_orders() {
	$("orders").append(
		...Object.entries(orders).map(([name, { customer }]) => {
			const button = element("button", { type: "button", onclick: () => open_order(name) }, customer);
			button.append(element("small"));
			return button;
		})
	);
}

// The buttons stay: one that is replaced while it is pressed gets no click.
function show_orders() {
	for (const [index, [name, { step }]] of Object.entries(orders).entries()) {
		const button = $("orders").children[index];
		button.querySelector("small").textContent = `${name} · ${steps[step]}`;
		if (name === current) button.setAttribute("aria-current", "true");
		else button.removeAttribute("aria-current");
	}
}

function show_order() {
	const order = orders[current];
	$("order-name").textContent = `${DOCTYPE} ${current}`;
	$("order-customer").textContent = order.customer;
	$("steps").replaceChildren(
		...steps.map((step, index) => {
			const now = index === order.step ? " now" : "";
			return element("li", { className: (index <= order.step ? "done" : "") + now }, step);
		})
	);
	const next = (order.step + 1) % steps.length;
	// What somebody is writing is not replaced.
	for (const field of FIELDS) if ($(field) !== document.activeElement) $(field).value = order[field];
	$("advance").textContent = next ? `Set to ${steps[next]}` : "Start over";
}

function show_change({ by, action, at }) {
	const line = element("li", {}, `${clock(new Date(at * 1000))} ${users[by].full_name} `);
	line.append(element("b", {}, action));
	$("activity").prepend(line);
	$("activity").children[ACTIVITY]?.remove();
}

function show_present(place) {
	if (place !== here) return;
	show_viewers(place);
	for (const field of FIELDS) {
		const editors = place.members.filter((member) => member.state.field === field && member.id !== place.me?.id);
		const label = document.querySelector(`[data-field=${field}]`);
		label.querySelector(".editors").textContent = editors.map((member) => member.full_name).join(", ");
		if (editors.length) label.style.setProperty("--colour", users[editors[0].user].colour);
		else label.removeAttribute("style");
	}
}

function show_viewers(place) {
	const viewers = new Set([...place.users.map((one) => one.user), user]);
	// Only when somebody comes or goes: each change of a field would show the pictures anew.
	const titles = [...$("viewers").querySelectorAll(".avatar")].map((one) => one.title).join();
	if (titles === [...viewers].map(full_name).join()) return;
	const text = viewers.size > 1 ? `${viewers.size} are viewing` : "Only you are viewing";
	$("viewers").replaceChildren(element("small", {}, text), ...[...viewers].map(avatar));
}

function show_typing(place) {
	if (place !== chat) return;
	const others = place.members.filter((member) => member.state.typing && member.user !== user);
	$("typing").textContent = others.length ? `${others[0].full_name} is typing …` : "";
}

function show_message({ user: author, text, sent }) {
	const message = element("div", { className: author === user ? "message mine" : "message" });
	const name = author === user ? "You" : users[author].full_name;
	message.append(element("span", {}, text), element("small", {}, `${name}, ${clock(new Date(sent * 1000))}`));
	$("messages").append(message);
	$("messages").scrollTop = $("messages").scrollHeight;
}

function show_status(status) {
	$("status").textContent = status;
	$("status").dataset.status = status;
}

function show_event(event, message) {
	if (event.startsWith(INTERNAL_PREFIX)) return;
	const line = element("li");
	line.append(element("time", {}, clock(new Date())), element("b", {}, event), element("span", {}, JSON.stringify(message)));
	$("feed").prepend(line);
	$("feed").children[FEED_LENGTH]?.remove();
	if (!SHOWN_EVENTS.test(event)) toast(`${event}: ${message?.text ?? JSON.stringify(message)}`);
}

function toast(text) {
	const line = element("p", {}, text);
	$("toasts").append(line);
	setTimeout(() => line.remove(), 5000);
}

function full_name(name) {
	return users[name]?.full_name ?? name;
}

function avatar(name) {
	const { full_name, colour } = users[name] ?? { full_name: name, colour: "#64748b" };
	const node = element("span", { className: "avatar", title: full_name }, full_name[0]);
	node.style.setProperty("--colour", colour);
	return node;
}

function element(tag, properties = {}, text = "") {
	return Object.assign(document.createElement(tag), properties, text ? { textContent: text } : {});
}

function clock(time) {
	return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

async function call(method, args = {}) {
	const response = await fetch(`/api/method/${method}`, {
		method: "POST",
		headers: {
			"Content-Type": "application/json",
			[PAGE_HEADER]: page_id,
			...(token ? { Authorization: token } : {}),
		},
		body: JSON.stringify(args),
	});
	if (!response.ok) {
		toast(`${method}: HTTP ${response.status}. Is the demo still running?`);
		throw new Error(`${method}: HTTP ${response.status}`);
	}
	return (await response.json()).message;
}
