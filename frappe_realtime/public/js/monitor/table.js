// A card with a table that is updated in place: rows keep their elements, so that a click or the focus is not lost.

import { element, link } from "./dom.js";
import { count } from "./format.js";

/**
 * @typedef {object} Column
 * @property {string} label
 * @property {(row: object) => (string | Node)[]} content the parts of a cell
 * @property {boolean} [is_number] aligned to the end
 * @property {boolean} [wraps] takes the space that is left, and breaks long text
 * @property {(row: object) => void} [open] makes the cell a link, unless it is empty
 * @property {string} [title] explains the column
 */

/** A card with a title and a table. */
export class Table {
	/**
	 * @param {object} options
	 * @param {string} options.name for tests and styles
	 * @param {string} options.title
	 * @param {string} [options.note] says what the numbers mean
	 * @param {string} options.empty shown instead of an empty table
	 * @param {Column[]} options.columns
	 * @param {(row: object) => string} options.key identifies a row
	 */
	constructor({ name, title, note, empty, columns, key }) {
		this._columns = columns;
		this._key = key;
		// By key: `{ row, element, cells }`.
		this._rows = new Map();
		this._body = element("tbody");
		this._empty = element("div", { class: "realtime-empty" }, empty);
		this._count = element("span", { class: "realtime-count" });
		this._table = element(
			"table",
			{},
			element("thead", {}, element("tr", {}, ...columns.map(header_cell))),
			this._body
		);
		this.element = element(
			"section",
			{ class: `realtime-card realtime-table realtime-${name}` },
			element("header", {}, element("h4", {}, title), this._count, note && element("small", {}, note)),
			element("div", { class: "realtime-scroll", tabindex: "0" }, this._table),
			this._empty
		);
	}

	/**
	 * Show rows.
	 *
	 * @param {object[]} rows in this order
	 * @param {number} [total] how many there are, if these are only some
	 */
	update(rows, total = rows.length) {
		this._count.textContent = rows.length < total ? `${count(rows.length)} / ${count(total)}` : rows.length || "";
		this._empty.hidden = rows.length > 0;
		this._table.hidden = !rows.length;
		const keys = new Set(rows.map(this._key));
		for (const [key, { element: removed }] of this._rows) {
			if (keys.has(key)) continue;
			removed.remove();
			this._rows.delete(key);
		}
		let next = this._body.firstChild;
		for (const row of rows) {
			const { element: current } = this._update_row(row);
			if (current === next) next = next.nextSibling;
			else this._body.insertBefore(current, next);
		}
	}

	_update_row(row) {
		const key = this._key(row);
		const known = this._rows.get(key) ?? this._add_row(key);
		known.row = row;
		this._columns.forEach(({ content, open }, index) => {
			const parts = content(row);
			const cell = known.cells[index];
			const shown = parts.map((part) => part?.outerHTML ?? part).join("\n");
			if (cell.shown === shown) return;
			cell.shown = shown;
			if (open && parts[0]) cell.element.replaceChildren(link(parts[0], () => open(known.row)), ...parts.slice(1));
			else cell.element.replaceChildren(...parts);
		});
		return known;
	}

	_add_row(key) {
		const cells = this._columns.map((column) => ({
			element: element("td", { class: cell_class(column) }),
			shown: null,
		}));
		const added = { row: null, cells, element: element("tr", {}, ...cells.map((cell) => cell.element)) };
		this._rows.set(key, added);
		return added;
	}
}

function header_cell(column) {
	return element("th", { class: cell_class(column), title: column.title, scope: "col" }, column.label);
}

function cell_class({ is_number, wraps }) {
	return (is_number && "realtime-number") || (wraps && "realtime-wraps");
}
