"use strict";
// What handlers keep on a socket, as far as it can be published to the handlers on other sidecars.

const MAX_VALUES = 200; // values in one property, inside of objects and arrays
const MAX_STRING = 2000; // characters; the sidecar publishes no more of all properties

/**
 * Copy the properties that handlers have set on a socket: those that are plain values, as JSON has them, at any depth. `data`,
 * which Socket.IO has for this purpose, is one of them if it is not empty.
 *
 * @param {Socket} socket
 * @param {Set<string>} own_names the properties that no handler has set
 */
function custom_properties(socket, own_names) {
	const copy = {};
	for (const name of Object.keys(socket)) {
		if (own_names.has(name) && (name !== "data" || is_empty(socket.data))) continue;
		const value = plain(socket[name], { values: MAX_VALUES });
		if (value !== undefined) copy[name] = value;
	}
	return copy;
}

function is_empty(value) {
	for (const _ in value) return false;
	return true;
}

/** Copy a plain value; undefined for another one, such as a Map, a connection or a function, and for one that is too large. */
function plain(value, left) {
	if (left.values-- <= 0) return undefined;
	if (value === null || typeof value === "boolean") return value;
	if (typeof value === "string") return value.length <= MAX_STRING ? value : undefined;
	if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
	if (Array.isArray(value)) {
		if (value.length > left.values) return undefined;
		const copy = value.map((item) => plain(item, left));
		return copy.includes(undefined) ? undefined : copy;
	}
	const prototype = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
	if (prototype !== Object.prototype && prototype !== null) return undefined;
	const copy = {};
	for (const name in value) {
		copy[name] = plain(value[name], left);
		if (copy[name] === undefined) return undefined;
	}
	return copy;
}

module.exports = { custom_properties };
