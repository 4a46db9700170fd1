// A drawing: an array of strokes, each an array of coordinates, x and y in turn.

import * as Y from "yjs";

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {SVGSVGElement} svg
 * @param {Y.Array<Y.Array<number>>} strokes
 */
export function show_drawing(svg, strokes) {
	let is_enabled = false;
	let current = null;

	const point_of = (event) => {
		const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
		return [Math.round(x), Math.round(y)];
	};
	svg.addEventListener("pointerdown", (event) => {
		if (!is_enabled) return;
		current = new Y.Array();
		current.push(point_of(event));
		strokes.push([current]);
		svg.setPointerCapture(event.pointerId);
	});
	svg.addEventListener("pointermove", (event) => current?.push(point_of(event)));
	svg.addEventListener("pointerup", () => (current = null));

	const show = () => {
		svg.replaceChildren(
			...strokes.map((stroke) => {
				const line = document.createElementNS(SVG, "polyline");
				line.setAttribute("points", stroke.toArray().join(" "));
				line.setAttribute("fill", "none");
				line.setAttribute("stroke", "currentColor");
				return line;
			}),
		);
	};
	strokes.observeDeep(show);
	show();
	return {
		enable(enabled) {
			is_enabled = enabled;
			if (!enabled) current = null;
		},
	};
}
