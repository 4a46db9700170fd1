// Describes the members of a room in words, by the name that Frappe gives the room.

/**
 * Describe a room.
 *
 * @param {string} room for instance `doc:ToDo/1`
 * @returns {string} plain text; empty for the room of an app
 */
export function describe_room(room) {
	const [prefix, ...rest] = room.split(":");
	const subject = rest.join(":");
	const [doctype, ...name] = subject.split("/");
	const document_name = name.join("/");
	if (room === "all") return __("All Desk users");
	if (room === "website") return __("All sockets of the site, guests included");
	if (prefix === "user") return __("All sockets of the user {0}", [subject]);
	if (prefix === "doctype") return __("Pages that show a list or a form of {0}", [__(subject)]);
	if (prefix === "doc") return __("Pages that follow {0} {1}", [__(doctype), document_name]);
	if (prefix === "open_doc") return __("Pages that show the form of {0} {1}", [__(doctype), document_name]);
	if (prefix === "task_progress") return __("Pages that follow a background task");
	return "";
}
