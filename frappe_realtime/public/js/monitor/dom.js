// Creates DOM elements. Text becomes text nodes, so no value is ever parsed as HTML.

/**
 * Create an element.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `on_click` is a listener; attributes that are null or false are left out
 * @param {...(Node | string | number | null | undefined)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
	const created = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name === "on_click") created.addEventListener("click", value);
		else if (value != null && value !== false) created.setAttribute(name, value);
	}
	created.append(...children.filter((child) => child != null && child !== ""));
	return created;
}

/**
 * Create a pill, as the Desk has them for the status of a document.
 *
 * @param {string} text
 * @param {string} color one of the Desk's indicator colors
 * @param {string} [title]
 */
export function pill(text, color, title) {
	return element("span", { class: `indicator-pill no-indicator-dot ${color}`, title }, text);
}

/**
 * Create a button that looks like a link.
 *
 * @param {string} text
 * @param {Function} on_click
 */
export function link(text, on_click) {
	return element("button", { type: "button", class: "realtime-link", title: text, on_click }, text);
}
