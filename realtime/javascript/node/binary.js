"use strict";
// The arguments of an event as JSON with attachments, and back, like `deconstructPacket` and `reconstructPacket` of
// socket.io-parser.

// Binary values of one event, the limit of socket.io-parser; also in frappe_realtime/contract/channels.py.
const MAX_ATTACHMENTS = 10;

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

/** Return `value` with placeholders for its binary values, which are added to `attachments`. */
function deconstruct(value, attachments) {
	if (value === null || typeof value !== "object") return value;
	if (is_binary(value)) {
		attachments.push(to_buffer(value));
		return { _placeholder: true, num: attachments.length - 1 };
	}
	if (Array.isArray(value)) return value.map((item) => deconstruct(item, attachments));
	if (typeof value.toJSON === "function") return deconstruct(value.toJSON(), attachments);
	if (value._placeholder === true) throw new Error('beside binary values, Socket.IO reserves the key "_placeholder" for their places');
	return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, deconstruct(item, attachments)]));
}

// A copy: the handler may change its array before the frame is sent.
function to_buffer(value) {
	if (value instanceof ArrayBuffer) return Buffer.from(value.slice(0));
	return Buffer.from(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
}

/** Encode a list of arguments as `{ json, attachments }`. Throws for what JSON cannot hold, such as cycles, or clients do not accept. */
function encode_arguments(list) {
	if (!has_binary(list)) return { json: JSON.stringify(list), attachments: [] };
	const attachments = [];
	const json = JSON.stringify(deconstruct(list, attachments));
	if (attachments.length > MAX_ATTACHMENTS) {
		throw new Error(`there are ${attachments.length} binary values; Socket.IO allows ${MAX_ATTACHMENTS} in an event`);
	}
	return { json, attachments };
}

/** Replace the placeholders in `value` by their attachments. */
function reconstruct(value, attachments) {
	if (value === null || typeof value !== "object") return value;
	if (Array.isArray(value)) return value.map((item) => reconstruct(item, attachments));
	if (value._placeholder === true) return attachments[value.num];
	for (const key of Object.keys(value)) value[key] = reconstruct(value[key], attachments);
	return value;
}

module.exports = { encode_arguments, reconstruct };
