// The sentence that the page shows instead of numbers, or above old ones.

import { element } from "./dom.js";

/** A notice about the state of the feed. */
export class Notice {
	constructor() {
		this._sentence = element("p");
		this._hint = element("p", { class: "text-muted" });
		this.element = element("div", { class: "realtime-card realtime-notice", role: "status" }, this._sentence, this._hint);
	}

	/**
	 * Show what a state means, or hide the notice.
	 *
	 * @param {import("./feed.js").FeedState} state
	 * @param {import("./feed.js").MonitorError} [error]
	 */
	show(state, error) {
		const [sentence, hint = ""] = explain(state, error);
		this._sentence.textContent = sentence;
		this._hint.textContent = hint;
		this.element.hidden = !sentence;
	}
}

function explain(state, error) {
	switch (state) {
		case "disabled":
			return [__("Realtime is turned off on this site."), __("The site configuration has the key disable_async.")];
		case "lost":
			return [
				__("The Desk is not connected to the realtime server."),
				__("This page goes on when the connection is back. On the server, frappe-realtime doctor finds the cause."),
			];
		case "asking":
			return [__("Waiting for the realtime server…")];
		case "silent":
			return [
				__("The realtime server does not answer this page."),
				__(
					"It may be Frappe's own Node server, which has no monitoring, or an older version of the sidecar. On the server, bench realtime setup installs the sidecar."
				),
			];
		case "refused":
			return error.code === "not_permitted"
				? [__("You may not see this page."), __("It is for users with the role System Manager on this site.")]
				: [__("The realtime server cannot answer now."), error.message];
		default:
			return [""];
	}
}
