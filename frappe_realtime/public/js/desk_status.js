// The status indicator at the lower edge of the Desk, shown while the connection is lost.

// Milliseconds before the indicator appears. Most interruptions are shorter.
const SHOW_AFTER = 3000;

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
	align-items: center;
	gap: 8px;
	padding: 6px 12px;
	border: 1px solid var(--border-color, #8888);
	border-radius: 999px;
	background: var(--fg-color, Canvas);
	color: var(--text-color, CanvasText);
	box-shadow: var(--shadow-base, 0 1px 4px #0003);
	font-size: var(--text-sm, 12px);
	line-height: 1.5;
}
.realtime-status::before {
	content: "";
	flex: none;
	width: 8px;
	height: 8px;
	border-radius: 50%;
	background: var(--orange-500, #d45a08);
}
.realtime-status:empty { display: none; }
@media print { .realtime-status { display: none; } }
`;

let indicator = null;
let timer = null;

/**
 * Show or hide the indicator.
 *
 * @param {string} status the status of the connection
 */
export function show_status(status) {
	// The element exists from the first status on: screen readers announce changes of an element, not its appearance.
	indicator ??= create_indicator();
	clearTimeout(timer);
	if (status === "lost") {
		timer = setTimeout(() => {
			indicator.textContent = __("Live updates are paused, reconnecting…");
		}, SHOW_AFTER);
	} else {
		indicator.textContent = "";
	}
}

function create_indicator() {
	const style = document.createElement("style");
	style.textContent = STYLE;
	document.head.append(style);
	const element = document.createElement("div");
	element.className = "realtime-status";
	element.setAttribute("role", "status");
	document.body.append(element);
	return element;
}
