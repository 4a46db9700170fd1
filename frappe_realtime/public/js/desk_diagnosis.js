// The panel above the status sign, which shows System Managers a diagnosis: the cause, the remedy, and what was tried.

const ID = "realtime-diagnosis";

const STYLE = `
#${ID} {
	pointer-events: auto;
	box-sizing: border-box;
	width: min(640px, calc(100vw - 32px));
	max-height: min(70vh, 560px);
	overflow: auto;
	padding: 16px;
	border: 1px solid var(--border-color, #8888);
	border-radius: 12px;
	background: var(--fg-color, Canvas);
	box-shadow: var(--shadow-lg, 0 4px 24px #0004);
	overflow-wrap: anywhere;
	text-align: start;
}
#${ID} h2 { margin: 0 0 4px; font-size: var(--text-md, 14px); font-weight: 600; color: inherit; }
#${ID} p { margin: 0 0 8px; }
#${ID} ol { margin: 8px 0; padding-inline-start: 20px; }
#${ID} li { margin-block-end: 8px; }
#${ID} code { padding: 0; background: none; color: inherit; font-size: inherit; }
#${ID} .realtime-failed { color: #b52a2a; font-weight: 600; }
#${ID} .realtime-passed { color: #1f6b3b; font-weight: 600; }
[data-theme="dark"] #${ID} .realtime-failed { color: #ff8a8a; }
[data-theme="dark"] #${ID} .realtime-passed { color: #7fd8a0; }
`;

export class DiagnosisPanel {
	/**
	 * @param {() => Promise<import("./diagnosis.js").Diagnosis>} diagnose
	 * @param {HTMLButtonElement} button the button that opens and closes the panel
	 * @param {() => void} on_close
	 */
	constructor(diagnose, button, on_close) {
		this._diagnose = diagnose;
		this._button = button;
		this._on_close = on_close;
		// The diagnosis that is shown, and the number of the one that was started last.
		this._diagnosis = null;
		this._started = 0;

		const style = document.createElement("style");
		style.textContent = STYLE;
		document.head.append(style);
		this._cause = make("div", { role: "status" });
		this._steps = make("div");
		this._again = this._make_button(__("Check again"), () => this._run());
		this._copy = this._make_button(__("Copy"), () => this._copy_result());
		const actions = make("div", {}, this._again, this._copy, this._make_button(__("Close"), () => this.close()));
		const attributes = { id: ID, role: "region", "aria-label": __("Realtime diagnosis"), tabindex: -1, hidden: "" };
		this.element = make("div", attributes, this._cause, this._steps, actions);
		this.element.addEventListener("keydown", (event) => {
			if (event.key !== "Escape") return;
			event.stopPropagation();
			this.close();
		});

		button.setAttribute("aria-controls", ID);
		button.setAttribute("aria-expanded", "false");
		button.addEventListener("click", () => (this.is_open ? this.close() : this._open()));
	}

	get is_open() {
		return !this.element.hidden;
	}

	_open() {
		this.element.hidden = false;
		this._button.setAttribute("aria-expanded", "true");
		this.element.focus();
		this._run();
	}

	close() {
		if (!this.is_open) return;
		const had_focus = this.element.contains(document.activeElement);
		this.element.hidden = true;
		this._button.setAttribute("aria-expanded", "false");
		if (had_focus) this._button.focus();
		this._on_close();
	}

	async _run() {
		const number = ++this._started;
		this.element.setAttribute("aria-busy", "true");
		this._cause.replaceChildren(make("p", {}, __("Checking the connection…")));
		this._steps.replaceChildren();
		this._copy.hidden = true;
		this._copy.textContent = __("Copy");
		const diagnosis = await this._diagnose();
		if (number !== this._started) return;
		this._diagnosis = diagnosis;
		this.element.setAttribute("aria-busy", "false");
		this._copy.hidden = false;
		this._show(diagnosis);
	}

	// Text only: what comes from a server must not become markup.
	_show({ message, code, reason, advice, docs, steps }) {
		this._cause.replaceChildren(
			make("h2", {}, message),
			...(advice ? [make("p", {}, advice)] : []),
			make("p", {}, make("code", {}, code), reason && `: ${reason}`),
		);
		this._steps.replaceChildren(
			make("ol", {}, ...steps.map((step) => show_step(step, advice))),
			make("p", {}, `${__("More")}: ${docs}`),
		);
	}

	async _copy_result() {
		const text = JSON.stringify(this._diagnosis, null, 2);
		try {
			await navigator.clipboard.writeText(text);
			this._copy.textContent = __("Copied");
		} catch {
			// The clipboard is only available by HTTPS and with a permission.
			this._steps.replaceChildren(make("pre", { tabindex: 0 }, text));
		}
	}

	_make_button(label, on_click) {
		const button = make("button", { type: "button" }, label);
		button.addEventListener("click", on_click);
		return button;
	}
}

const STEP_NAMES = { polling: "Polling", websocket: "WebSocket", connect: "CONNECT" };

function show_step({ step, address, ok, status, code, reason, advice }, shown_advice) {
	const outcome = ok ? __("works") : code ? __("fails") : __("not tried");
	const details = [status && `HTTP ${status}`, code].filter(Boolean).join(", ");
	return make(
		"li",
		{},
		`${STEP_NAMES[step]} `,
		make("span", { class: ok ? "realtime-passed" : code ? "realtime-failed" : "" }, outcome),
		details && ` (${details})`,
		...(address ? [make("br"), make("code", {}, address)] : []),
		make("br"),
		reason,
		...(advice && advice !== shown_advice ? [make("br"), advice] : []),
	);
}

function make(name, attributes = {}, ...children) {
	const element = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
	element.append(...children);
	return element;
}
