// Finds out why a connection fails: tries polling, WebSocket and CONNECT, apart from the connection of the client.
//
// Each import has a hash of the imported file in its URL, because browsers cache the files of /assets for a year.

import { REMEDIES } from "./remedies.js?v=25f3a84eb60e";

// Milliseconds for the HTTP request or the WebSocket of a step, and for the answer to CONNECT.
const TRANSPORT_TIMEOUT = 10_000;
const CONNECT_TIMEOUT = 15_000;

const DOCS = "docs/troubleshooting.md";
// Those that socket.io-client uses by default, in its order.
const TRANSPORTS = ["polling", "websocket"];

const RECORD_SEPARATOR = "\x1e";

// Packets of Engine.IO, and of Socket.IO inside messages.
const OPEN = "0";
const CLOSE = "1";
const PING = "2";
const PONG = "3";
const CONNECT = "40";
const DISCONNECT = "41";
const CONNECT_ERROR = "44";

// Names of the numeric codes of Engine.IO in HTTP responses.
const HTTP_REFUSALS = [
	"unknown_transport",
	"unknown_sid",
	"bad_handshake_method",
	"bad_request",
	"forbidden",
	"unsupported_protocol_version",
];

const GATEWAY_CODES = { 404: "no_socketio_path", 502: "bad_gateway", 503: "bad_gateway", 504: "gateway_timeout" };

const PROXY_REPLACES_ORIGIN = "The proxy replaces the header Origin: set `proxy_set_header Origin $http_origin;`.";

/**
 * @typedef {object} Step
 * @property {"polling" | "websocket" | "connect"} step
 * @property {string} address the URL, without the query of the page's own client
 * @property {boolean} ok
 * @property {number | null} status the HTTP status, if there was a response that the page can read
 * @property {string | null} code why it failed: a key of `REMEDIES`; null if it did not, or was not tried
 * @property {string} reason what came back
 * @property {string} advice what to do
 * @property {number} milliseconds
 */

/**
 * @typedef {object} Diagnosis
 * @property {boolean} ok whether a client can connect
 * @property {string} code the cause: a key of `REMEDIES`
 * @property {string} message what the code means
 * @property {string} reason what came back
 * @property {string} advice what to do
 * @property {string} docs the place in the documentation
 * @property {string} status the status of the connection of the page
 * @property {string} page the origin of the page
 * @property {string} site the namespace, which is the name of the site
 * @property {Step[]} steps
 */

/** The failure of a step. */
class Failure extends Error {
	constructor(code, reason, { status = null, data = null } = {}) {
		super(reason);
		Object.assign(this, { code, status, data });
	}
}

/**
 * Try to connect as a client does, and say what fails.
 *
 * @param {any} socket a socket of socket.io-client, whose options are used; null if the page has none
 * @param {string} [status] the status of its connection
 * @returns {Promise<Diagnosis>}
 */
export async function diagnose(socket, status = "") {
	if (!socket) return conclude({ code: "disabled", reason: "", advice: REMEDIES.disabled[1] }, false, status, "", []);
	const target = read_target(socket);
	const payload = read_payload(socket);
	// It is awaited if a transport works.
	payload.catch(() => {});
	const watch = new PolicyWatch();
	const opened = {};
	try {
		const polling = new Attempt("polling", target.address("polling"), watch);
		const websocket = new Attempt("websocket", target.address("websocket"), watch);
		[opened.polling, opened.websocket] = await Promise.all([
			polling.run(() => PollingSession.open(target)),
			websocket.run(() => WebSocketSession.open(target)),
		]);
		// Without a status, a WebSocket cannot tell these causes from its own.
		if (!opened.polling && !opened.websocket && websocket.code === "websocket_blocked") websocket.fail_as(polling.code);

		const [first] = target.transports;
		const name = opened[first] ? first : Object.keys(opened).find((one) => opened[one]);
		const connect = new Attempt("connect", name ? target.address(name) : "", watch);
		if (name) await connect.run(async () => opened[name].connect(target, await payload));
		else connect.reason = "neither transport works";

		const transport = first === "websocket" ? websocket : polling;
		const blocking = [transport, connect].find((attempt) => !attempt.ok);
		const cause = blocking ?? (target.transports.includes("websocket") && !websocket.ok ? websocket : connect);
		return conclude(cause, !blocking, status, target.site, [polling, websocket, connect]);
	} finally {
		for (const session of Object.values(opened)) session?.close();
		watch.stop();
	}
}

function conclude({ code, reason, advice }, ok, status, site, attempts) {
	code ??= "working";
	return {
		ok,
		code,
		message: REMEDIES[code][0],
		reason,
		advice,
		docs: `${DOCS}#${code}`,
		status,
		page: location.origin,
		site,
		steps: attempts.map((attempt) => attempt.result()),
	};
}

class Attempt {
	constructor(step, address, watch) {
		Object.assign(this, { step, address, ok: false, status: null, code: null, reason: "", advice: "" });
		this.milliseconds = 0;
		this._watch = watch;
	}

	/** Run a step; returns null if it fails. */
	async run(action) {
		const started = performance.now();
		try {
			const session = await action();
			this.ok = true;
			this.status = session.status;
			this.reason = session.reason;
			return session;
		} catch (error) {
			if (!(error instanceof Failure)) throw error;
			const blocked = await this._watch.blocked(this.address);
			this.status = error.status;
			this.reason = blocked ? `blocked by ${blocked}` : error.message;
			this.fail_as(blocked ? "blocked_by_policy" : error.code, error.data);
			return null;
		} finally {
			this.milliseconds = Math.round(performance.now() - started);
		}
	}

	fail_as(code, data) {
		this.code = code;
		const is_replaced = code === "origin_not_allowed" && data?.origin && data.origin !== location.hostname;
		this.advice = is_replaced ? PROXY_REPLACES_ORIGIN : REMEDIES[code][1];
	}

	result() {
		const { step, address, ok, status, code, reason, advice, milliseconds } = this;
		return { step, address, ok, status, code, reason, advice, milliseconds };
	}
}

// Violations of the Content-Security-Policy, which fetch and WebSocket do not report.
class PolicyWatch {
	constructor() {
		this._violations = [];
		this._note = (event) => this._violations.push(event);
		document.addEventListener("securitypolicyviolation", this._note);
	}

	/** Return the directive that blocks an address, or "". */
	async blocked(address) {
		await new Promise((resolve) => setTimeout(resolve));
		const is_same = ({ blockedURI }) => address.startsWith(blockedURI.split("?")[0]);
		return this._violations.find((event) => event.blockedURI && is_same(event))?.effectiveDirective ?? "";
	}

	stop() {
		document.removeEventListener("securitypolicyviolation", this._note);
	}
}

// What the client of the page would use: address and options.
function read_target(socket) {
	const { opts, uri } = socket.io;
	const { protocol, host } = new URL(uri, location.href);
	const is_secure = protocol === "https:" || protocol === "wss:";
	const path = `${(opts.path || "/socket.io").replace(/\/$/, "")}/`;
	const transports = (opts.transports ?? TRANSPORTS).filter((name) => TRANSPORTS.includes(name));
	const address = (transport) => {
		const scheme = `${transport === "websocket" ? "ws" : "http"}${is_secure ? "s" : ""}`;
		return `${scheme}://${host}${path}?EIO=4&transport=${transport}`;
	};
	return {
		site: socket.nsp.slice(1),
		// As in a packet: the default namespace has no name there.
		namespace: socket.nsp === "/" ? "" : `${socket.nsp},`,
		// A bundle may pass classes in the place of names.
		transports: transports.length ? transports : TRANSPORTS,
		address,
		url: (transport, sid) => {
			const more = new URLSearchParams({ ...opts.query, ...(sid && { sid }) }).toString();
			return address(transport) + (more && `&${more}`);
		},
		is_insecure: location.protocol === "https:" && !is_secure,
		request: {
			credentials: opts.withCredentials ? "include" : "same-origin",
			headers: opts.extraHeaders ?? {},
			cache: "no-store",
		},
	};
}

// The payload of CONNECT, as text. A function that fails does not call back: Socket.IO has no way to say so.
async function read_payload({ auth }) {
	let payload = auth;
	if (typeof auth === "function") {
		payload = await new Promise((resolve, reject) => {
			const reason = `the page has not returned its token or \`auth\` within ${TRANSPORT_TIMEOUT / 1000} seconds`;
			setTimeout(() => reject(new Failure("no_credential", reason)), TRANSPORT_TIMEOUT);
			auth(resolve);
		});
	}
	return payload ? JSON.stringify(payload) : "";
}

class PollingSession {
	constructor(target, sid, status) {
		Object.assign(this, { status, reason: `HTTP ${status}`, _url: target.url("polling", sid), _target: target });
		this._has_joined = false;
	}

	static async open(target) {
		const options = { expected: /^0\{/, timeout: TRANSPORT_TIMEOUT };
		const { status, body } = await request(target, target.url("polling"), options);
		return new PollingSession(target, parse_json(body.slice(1))?.sid, status);
	}

	async connect(target, payload) {
		const deadline = performance.now() + CONNECT_TIMEOUT;
		await this._post(CONNECT + target.namespace + payload);
		for (;;) {
			const timeout = deadline - performance.now();
			const options = { expected: /^\d/, timeout, timeout_code: "connect_not_answered" };
			const { body } = await request(target, this._url, options);
			for (const packet of body.split(RECORD_SEPARATOR)) {
				const answer = read_answer(target, packet);
				if (answer) {
					this._has_joined = true;
					return { status: this.status, reason: answer };
				}
				if (packet === PING) await this._post(PONG);
			}
		}
	}

	async _post(body) {
		const { _target: target } = this;
		await request(target, this._url, { method: "POST", body, expected: /^ok$/, timeout: TRANSPORT_TIMEOUT });
	}

	close() {
		const leave = this._has_joined ? DISCONNECT + this._target.namespace + RECORD_SEPARATOR : "";
		this._post(leave + CLOSE).catch(() => {});
	}
}

async function request(target, url, { expected, timeout, timeout_code = "no_http_answer", ...options }) {
	const signal = AbortSignal.timeout(Math.max(timeout, 1));
	let response, body;
	try {
		response = await fetch(url, { ...target.request, ...options, signal });
		body = await response.text();
	} catch (error) {
		if (signal.aborted) throw new Failure(timeout_code, `no answer within ${Math.round(timeout / 1000)} seconds`);
		throw await explain_network_error(target, url, error);
	}
	const { status } = response;
	if (status === 200 && expected.test(body)) return { status, body };
	throw read_refusal(response, body);
}

async function explain_network_error(target, url, error) {
	if (!navigator.onLine) return new Failure("offline", error.message);
	if (target.is_insecure) return new Failure("mixed_content", error.message);
	const is_same_origin = new URL(url).origin === location.origin;
	try {
		// A request of which the page cannot read the answer tells whether there is one.
		const options = { cache: "no-store", signal: AbortSignal.timeout(TRANSPORT_TIMEOUT) };
		const hidden = is_same_origin ? { redirect: "manual" } : { mode: "no-cors" };
		const { type } = await fetch(url, { ...options, ...hidden });
		if (type === "opaqueredirect") return new Failure("redirected", "the redirect cannot be followed");
		if (!is_same_origin) return new Failure("blocked_by_cors", error.message);
	} catch {
		// Nothing answers.
	}
	const is_secure = new URL(url).protocol === "https:";
	return new Failure(is_secure && !is_same_origin ? "certificate_or_unreachable" : "unreachable", error.message);
}

function read_refusal({ status, headers, redirected, url }, body) {
	const refusal = parse_json(body);
	if (Number.isInteger(refusal?.code) && typeof refusal.message === "string") {
		const by_status = { 429: "too_many_connections", 503: "server_stopping" };
		const code = by_status[status] ?? HTTP_REFUSALS[refusal.code] ?? "http_error";
		return new Failure(code, `HTTP ${status}, code ${refusal.code}: ${refusal.message}`, { status });
	}
	const type = headers.get("content-type") ?? "no content type";
	const server = headers.get("server");
	const reason = `HTTP ${status}, ${type}${server ? `, from ${server}` : ""}${redirected ? `, redirected to ${url}` : ""}`;
	const code = GATEWAY_CODES[status] ?? (status < 400 ? "other_http_server" : "http_error");
	return new Failure(code, reason, { status });
}

class WebSocketSession {
	constructor(socket) {
		Object.assign(this, { status: null, reason: "open", _socket: socket, _messages: [], _waiting: null });
		this._is_open = false;
		this._leave = "";
		socket.onopen = () => (this._is_open = true);
		socket.onmessage = ({ data }) => this._add(String(data));
		socket.onclose = ({ code }) => this._add(null, code);
	}

	static async open(target) {
		let socket;
		try {
			socket = new WebSocket(target.url("websocket"));
		} catch (error) {
			throw new Failure(target.is_insecure ? "mixed_content" : "blocked_by_policy", error.message);
		}
		const session = new WebSocketSession(socket);
		try {
			const packet = await session._next(TRANSPORT_TIMEOUT, "websocket_blocked");
			if (!packet.startsWith(OPEN)) throw new Failure("other_http_server", "the first message is not of Engine.IO");
			return session;
		} catch (error) {
			session.close();
			throw error;
		}
	}

	async connect(target, payload) {
		const deadline = performance.now() + CONNECT_TIMEOUT;
		this._socket.send(CONNECT + target.namespace + payload);
		for (;;) {
			const packet = await this._next(deadline - performance.now(), "connect_not_answered");
			const answer = read_answer(target, packet);
			if (answer) {
				this._leave = DISCONNECT + target.namespace;
				return { status: null, reason: answer };
			}
			if (packet === PING) this._socket.send(PONG);
		}
	}

	_add(data, close_code) {
		this._messages.push({ data, close_code });
		this._waiting?.();
	}

	async _next(timeout, code) {
		let timer;
		if (!this._messages.length) {
			await new Promise((resolve) => {
				this._waiting = resolve;
				timer = setTimeout(resolve, Math.max(timeout, 1));
			});
			clearTimeout(timer);
		}
		const message = this._messages.shift();
		if (!message) throw new Failure(code, `no answer within ${Math.round(timeout / 1000)} seconds`);
		if (message.data !== null) return message.data;
		const when = this._is_open ? "the server closed it" : "closed before it was open";
		throw new Failure(code, `${when}, with code ${message.close_code}`);
	}

	close() {
		this._socket.onclose = null;
		if (this._leave) this._socket.send(this._leave);
		this._socket.close();
	}
}

// Return what the answer to CONNECT says, "" for another packet; throws if the client is refused.
function read_answer({ namespace }, packet) {
	if (packet === CLOSE) throw new Failure("connect_not_answered", "the server closed the connection");
	if (packet.startsWith(CONNECT_ERROR + namespace)) {
		const { message = "", data } = parse_json(packet.slice(CONNECT_ERROR.length + namespace.length)) ?? {};
		const code = Object.hasOwn(REMEDIES, data?.code) ? data.code : "other_socketio_server";
		const reason = data?.reason ? `${message}: ${data.reason}` : String(message);
		throw new Failure(code, `CONNECT_ERROR ${reason}`, { data });
	}
	if (!packet.startsWith(CONNECT + namespace)) return "";
	const { pid } = parse_json(packet.slice(CONNECT.length + namespace.length)) ?? {};
	return pid ? "connected, with connection state recovery" : "connected, without connection state recovery";
}

function parse_json(text) {
	try {
		return JSON.parse(text);
	} catch {
		return null;
	}
}
