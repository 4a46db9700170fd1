"use strict";
// Replaces the random numbers that yjs takes by a fixed sequence, so that its packets can be compared. Preload it into both
// servers: NODE_OPTIONS=--require=…/fixed_random.js

const { webcrypto } = require("node:crypto");

let state = 1;

Object.defineProperty(webcrypto, "getRandomValues", {
	value: (array) => {
		const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
		for (let index = 0; index < bytes.length; index++) {
			state = (Math.imul(state, 1103515245) + 12345) >>> 0;
			bytes[index] = state >>> 16;
		}
		return array;
	},
});
