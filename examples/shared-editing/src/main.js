// A page on which several users write and draw at once: a plain text, a formatted one (Tiptap) and a drawing, in one Yjs document, which
// belongs to one document of the site.

import { RealtimeProvider } from "@frappe-realtime/yjs";
import * as Y from "yjs";

import { show_drawing } from "./drawing.js";
import { show_editor } from "./editor.js";
import { show_text } from "./text.js";

/**
 * @param {Element} page
 * @param {import("@frappe-realtime/core").Connection} connection
 * @param {string} doctype
 * @param {string} name
 * @param {string} user how the others see this page
 */
export function mount(page, connection, doctype, name, user) {
	const doc = new Y.Doc();
	const provider = new RealtimeProvider(connection, doctype, name, doc);
	provider.awareness.setLocalStateField("user", { name: user, color: color_of(user) });

	page.innerHTML = `
		<p class="state"></p>
		<textarea class="text" rows="5" readonly></textarea>
		<div class="editor"></div>
		<svg class="drawing" viewBox="0 0 400 200"></svg>`;
	const text = page.querySelector(".text");
	show_text(text, doc.getText("text"));
	const editor = show_editor(page.querySelector(".editor"), provider);
	const drawing = show_drawing(page.querySelector(".drawing"), doc.getArray("strokes"));

	const show_state = () => {
		const names = [...provider.awareness.getStates().values()].map((state) => state.user?.name).filter(Boolean);
		const rights = provider.write ? "" : ", read only";
		page.querySelector(".state").textContent = `${provider.synced ? "up to date" : "offline"}${rights}: ${names.sort().join(", ")}`;
	};
	provider.on("sync", show_state);
	provider.awareness.on("change", show_state);
	provider.on("access", ({ write }) => {
		text.readOnly = !write;
		editor.setEditable(write);
		drawing.enable(write);
		show_state();
	});
	provider.on("error", ({ message }) => {
		page.querySelector(".state").textContent = message;
	});
	show_state();
	return provider;
}

// Tiptap shows the cursors of others in colors of six hexadecimal digits only.
const COLORS = ["#b42318", "#9a5b00", "#3f7d20", "#0b7a75", "#1f6feb", "#5b4bd6", "#9c36b5", "#c2255c"];

function color_of(user) {
	let place = 0;
	for (const letter of user) place = (place * 31 + letter.charCodeAt(0)) % COLORS.length;
	return COLORS[place];
}
