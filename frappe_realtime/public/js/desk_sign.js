// The small sign at the lower edge of the Desk while the connection is lost.

// Milliseconds. Most interruptions are over before anybody need know of them.
const PATIENCE = 3000;

const STYLE = `
.realtime-sign {
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
.realtime-sign::before {
	content: "";
	flex: none;
	width: 8px;
	height: 8px;
	border-radius: 50%;
	background: var(--orange-500, #d45a08);
}
.realtime-sign:empty { display: none; }
@media print { .realtime-sign { display: none; } }
`;

let sign = null;
let timer = null;

/** Show or hide the sign, as the status of the connection demands. */
export function show_status(status) {
	// It stands there empty from the start: screen readers announce what changes, not what appears.
	sign ??= make();
	clearTimeout(timer);
	if (status === "lost") {
		timer = setTimeout(() => {
			sign.textContent = __("Live updates are paused, reconnecting…");
		}, PATIENCE);
	} else {
		sign.textContent = "";
	}
}

function make() {
	const style = document.createElement("style");
	style.textContent = STYLE;
	document.head.append(style);
	const element = document.createElement("div");
	element.className = "realtime-sign";
	element.setAttribute("role", "status");
	document.body.append(element);
	return element;
}
