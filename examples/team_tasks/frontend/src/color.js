// Tiptap shows the cursors of others in colors of six hexadecimal digits only.
const COLORS = ["#b42318", "#9a5b00", "#3f7d20", "#0b7a75", "#1f6feb", "#5b4bd6", "#9c36b5", "#c2255c"];

/** The color of a user, the same on all pages. */
export function color_of(user) {
	let place = 0;
	for (const letter of user) place = (place * 31 + letter.charCodeAt(0)) % COLORS.length;
	return COLORS[place];
}
