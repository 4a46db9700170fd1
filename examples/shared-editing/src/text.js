// A plain text area over a Y.Text.

/**
 * @param {HTMLTextAreaElement} area
 * @param {import("yjs").Text} text
 */
export function show_text(area, text) {
	area.value = text.toString();
	area.addEventListener("input", () => {
		// What was typed, pasted or deleted is between what is the same at the beginning and at the end.
		const before = text.toString();
		const after = area.value;
		const longest = Math.min(before.length, after.length);
		let start = 0;
		while (start < longest && before[start] === after[start]) start += 1;
		let end = 0;
		while (end < longest - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
		text.doc.transact(() => {
			text.delete(start, before.length - start - end);
			text.insert(start, after.slice(start, after.length - end));
		}, area);
	});
	text.observe((event) => {
		if (event.transaction.origin === area) return;
		// The selection moves with the text before it.
		let [first, last] = [area.selectionStart, area.selectionEnd];
		let position = 0;
		for (const { retain = 0, insert = "", delete: removed = 0 } of event.delta) {
			position += retain;
			const moved = (place) => {
				if (place <= position) return place;
				return place - Math.min(removed, place - position) + insert.length;
			};
			[first, last] = [moved(first), moved(last)];
			position += insert.length;
		}
		area.value = text.toString();
		if (area.ownerDocument.activeElement === area) area.setSelectionRange(first, last);
	});
}
