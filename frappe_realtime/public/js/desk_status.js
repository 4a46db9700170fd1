// The sign at the lower edge of the Desk, shown while there is no connection. For System Managers it opens a diagnosis.

import { DiagnosisPanel } from "./desk_diagnosis.js";

// Milliseconds before the sign appears, by status. Most interruptions are shorter; a page may take long to load.
const SHOW_AFTER = { lost: 3000, connecting: 10_000 };

const MANAGER = "System Manager";

const STYLE = `
.realtime-status {
	position: fixed;
	inset-block-end: 16px;
	inset-inline: 0;
	margin-inline: auto;
	width: fit-content;
	max-width: calc(100vw - 32px);
	z-index: 1030;
	pointer-events: none;
	display: flex;
	flex-direction: column;
	align-items: center;
	gap: 8px;
	color: var(--text-color, CanvasText);
	font-size: var(--text-sm, 12px);
	line-height: 1.5;
}
.realtime-status-sign.is-shown {
	display: flex;
	align-items: center;
	gap: 8px;
	padding: 6px 12px;
	border: 1px solid var(--border-color, #8888);
	border-radius: 999px;
	background: var(--fg-color, Canvas);
	box-shadow: var(--shadow-base, 0 1px 4px #0003);
}
.realtime-status-sign.is-shown::before {
	content: "";
	flex: none;
	width: 8px;
	height: 8px;
	border-radius: 50%;
	background: var(--orange-500, #d45a08);
}
.realtime-status-sign.is-connected::before { background: var(--green-500, #2f9d58); }
.realtime-status button {
	pointer-events: auto;
	padding: 0 4px;
	border: 0;
	background: none;
	color: inherit;
	font: inherit;
	text-decoration: underline;
	cursor: pointer;
}
.realtime-status button:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; border-radius: 4px; }
.realtime-status [hidden] { display: none; }
@media print { .realtime-status { display: none; } }
`;

export class StatusSign {
	/** @param {() => Promise<import("./diagnosis.js").Diagnosis>} diagnose */
	constructor(diagnose) {
		this._diagnose = diagnose;
		this._timer = null;
		this._text = null;
		this._sign = null;
		this._button = null;
		this._panel = null;
	}

	/**
	 * Show or hide the sign.
	 *
	 * @param {"connecting" | "connected" | "lost" | "closed"} status the status of the connection
	 */
	update(status) {
		// The element exists from the first status on: screen readers announce changes of an element, not its appearance.
		if (!this._text) this._create();
		clearTimeout(this._timer);
		this._sign.classList.toggle("is-connected", status === "connected");
		if (status in SHOW_AFTER) {
			const text = status === "lost" ? __("Live updates are paused, reconnecting…") : __("Waiting for live updates…");
			const delay = this._panel.is_open ? 0 : SHOW_AFTER[status];
			this._timer = setTimeout(() => this._show(text), delay);
		} else if (this._panel.is_open) {
			// The diagnosis stays open until the user closes it.
			this._show(status === "connected" ? __("Live updates work again") : "");
		} else {
			this._show("");
		}
	}

	_show(text) {
		this._text.textContent = text;
		this._sign.classList.toggle("is-shown", Boolean(text));
		this._button.hidden = !text || !frappe.boot?.user?.roles?.includes(MANAGER);
		if (!text) this._panel.close();
	}

	_create() {
		const style = document.createElement("style");
		style.textContent = STYLE;
		document.head.append(style);

		this._text = document.createElement("span");
		this._text.setAttribute("role", "status");
		this._button = document.createElement("button");
		this._button.type = "button";
		this._button.textContent = __("Details");
		this._button.hidden = true;
		this._panel = new DiagnosisPanel(this._diagnose, this._button, () => {
			if (this._sign.classList.contains("is-connected")) this._show("");
		});

		this._sign = document.createElement("div");
		this._sign.className = "realtime-status-sign";
		this._sign.append(this._text, this._button);
		const element = document.createElement("div");
		element.className = "realtime-status";
		element.append(this._panel.element, this._sign);
		document.body.append(element);
	}
}
