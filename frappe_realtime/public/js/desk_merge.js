// Compares two states of a document, and joins the changes of two users who have edited it at the same time.
//
// All that is compared are the fields of the DocType. Rows of a child table are compared as a whole: two users who have changed
// different rows have both changed the table.

const NUMERIC = new Set(["Check", "Currency", "Duration", "Float", "Int", "Long Int", "Percent", "Rating"]);

/**
 * Return the values of a document by field, in a form in which equal values are identical.
 *
 * @param {string} doctype
 * @param {object} doc
 * @returns {Record<string, string | number>}
 */
export function snapshot(doctype, doc) {
	const values = {};
	for (const { fieldname, fieldtype, options } of frappe.get_meta(doctype)?.fields ?? []) {
		if (frappe.model.table_fields.includes(fieldtype)) {
			const rows = (doc[fieldname] ?? []).map((row) => [row.name, snapshot(options, row)]);
			values[fieldname] = JSON.stringify(rows);
		} else if (!frappe.model.no_value_type.includes(fieldtype)) {
			values[fieldname] = comparable(doc[fieldname], fieldtype);
		}
	}
	return values;
}

// The server leaves out empty values; the Desk sets some of them to 0 or to an empty text.
function comparable(value, fieldtype) {
	if (NUMERIC.has(fieldtype)) return Number(value) || 0;
	if (value === undefined || value === null) return "";
	return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * Return the fields in which two snapshots differ, in the order of the form.
 *
 * @param {Record<string, string | number>} before
 * @param {Record<string, string | number>} after
 * @returns {string[]}
 */
export function changed_fields(before, after) {
	return Object.keys(after).filter((field) => before[field] !== after[field]);
}

/**
 * Compare a document in which a user has changed something with the one that another user has saved meanwhile.
 *
 * @param {Record<string, string | number>} base what both began with
 * @param {Record<string, string | number>} own
 * @param {Record<string, string | number>} saved
 * @returns {{ own: string[], saved: string[], both: string[] }} the fields that each has changed, and those that both have
 *     changed to different values
 */
export function compare(base, own, saved) {
	const changes = { own: changed_fields(base, own), saved: changed_fields(base, saved) };
	const both = changes.own.filter((field) => changes.saved.includes(field) && own[field] !== saved[field]);
	return { ...changes, both };
}

/**
 * Return the saved document with the own values of some fields: what is to be saved next.
 *
 * @param {object} doc the document of the form
 * @param {object} saved the document of the server
 * @param {string[]} own the fields whose own values are kept
 * @returns {object}
 */
export function merge(doc, saved, own) {
	const merged = { ...saved, __unsaved: 1 };
	// What the server adds for the scripts of the form; the API does not return it.
	if (doc.__onload) merged.__onload = doc.__onload;
	for (const field of own) {
		const value = doc[field];
		merged[field] = Array.isArray(value) ? rows_to_save(value, saved[field] ?? []) : value;
	}
	return merged;
}

// Frappe updates the rows that are not new, and says nothing if there is none with the name: so a row that the other user has deleted is a
// new one.
function rows_to_save(rows, saved) {
	const names = new Set(saved.map(({ name }) => String(name)));
	return rows.map((row) => (names.has(String(row.name)) ? row : { ...row, __islocal: 1 }));
}
