"use strict";
// Arguments of an event: to the JSON of a Socket.IO packet with its attachments, and back.

function is_binary(value) {
	return value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}

function has_binary(value) {
	if (value === null || typeof value !== "object") return false;
	if (is_binary(value)) return true;
	if (Array.isArray(value)) return value.some(has_binary);
	if (typeof value.toJSON === "function") return has_binary(value.toJSON());
	return Object.values(value).some(has_binary);
}

function take_out(value, attachments) {
	if (value === null || typeof value !== "object") return value;
	if (is_binary(value)) {
		attachments.push(as_buffer(value));
		return { _placeholder: true, num: attachments.length - 1 };
	}
	if (Array.isArray(value)) return value.map((item) => take_out(item, attachments));
	if (typeof value.toJSON === "function") return take_out(value.toJSON(), attachments);
	return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, take_out(item, attachments)]));
}

// A copy, since the handler may write into its array again before the frame goes out.
function as_buffer(value) {
	if (value instanceof ArrayBuffer) return Buffer.from(value.slice(0));
	return Buffer.from(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
}

/** `{json, attachments}` of a list of arguments. Throws for what JSON cannot hold, as a circular object. */
function pack(list) {
	if (!has_binary(list)) return { json: JSON.stringify(list), attachments: [] };
	const attachments = [];
	return { json: JSON.stringify(take_out(list, attachments)), attachments };
}

/** Put `attachments` in the places that `value` keeps for them. */
function put_back(value, attachments) {
	if (value === null || typeof value !== "object") return value;
	if (Array.isArray(value)) return value.map((item) => put_back(item, attachments));
	if (value._placeholder === true) return attachments[value.num];
	for (const key of Object.keys(value)) value[key] = put_back(value[key], attachments);
	return value;
}

module.exports = { pack, put_back };
