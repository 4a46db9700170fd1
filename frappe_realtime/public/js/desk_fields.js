// The controls of a form of the Desk: which one an element belongs to, and where a field is shown.

/**
 * Return the control of a form to which an element belongs; undefined if it belongs to none, for instance in a dialog or in the
 * comments below the form.
 *
 * @param {object} form
 * @param {Element | null} element
 */
export function control_of(form, element) {
	if (!form.wrapper.contains(element)) return undefined;
	// Inside a control there may be controls that are not the form's.
	for (let one = element; (one = one?.closest(".frappe-control")); one = one.parentElement) {
		if (one.fieldobj?.frm === form) return one.fieldobj;
	}
	return undefined;
}

/**
 * Return which field of a form the user edits in an element.
 *
 * @param {object} form
 * @param {Element | null} element the one with the focus
 * @returns {{ field: string | null, row: string | null, column: string | null }} `row` is the name of a row of a child table and
 *     `column` its field; `field` is null if the user edits none
 */
export function edited_field(form, element) {
	const nothing = { field: null, row: null, column: null };
	const control = control_of(form, element);
	if (!control?.df.fieldname || control.disp_status !== "Write") return nothing;
	const { fieldname } = control.df;
	const { doc } = control;
	if (doc?.parentfield) return { field: doc.parentfield, row: doc.name, column: fieldname };
	return { ...nothing, field: fieldname };
}

/**
 * Find where a field is shown that somebody else edits.
 *
 * @param {object} form
 * @param {object} state as of `edited_field`; it comes from another page, so it may be anything
 * @returns {{ element: Element, cell: Element | undefined, text: string } | null} the elements of the field and of the cell in it,
 *     and the name of the field in the language of this user; null if the form has no such field
 */
export function find_field(form, { field, row, column }) {
	if (typeof field !== "string" || !Object.hasOwn(form.fields_dict, field)) return null;
	const control = form.fields_dict[field];
	const element = control.$wrapper?.get(0);
	if (!element) return null;
	const text = label_of(control.df);
	const grid_row = control.grid?.grid_rows?.find(({ doc }) => doc?.name === row);
	const column_field = grid_row?.docfields?.find(({ fieldname }) => fieldname === column);
	if (!column_field) return { element, cell: undefined, text };
	return {
		element,
		cell: grid_row.columns?.[column]?.get(0),
		text: `${text}, ${__("Row #{0}", [grid_row.doc.idx])}, ${label_of(column_field)}`,
	};
}

function label_of({ label, fieldname, parent }) {
	return __(label || fieldname, null, parent);
}
