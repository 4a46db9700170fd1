// Preloaded into both servers (NODE_OPTIONS=--require=…/equal_chances.js), this makes the random numbers that yjs takes
// equal, so that what it sends can be compared.
const { webcrypto } = require("node:crypto");

let state = 1;

Object.defineProperty(webcrypto, "getRandomValues", {
	value: (array) => {
		const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
		for (let at = 0; at < bytes.length; at++) {
			state = (Math.imul(state, 1103515245) + 12345) >>> 0;
			bytes[at] = state >>> 16;
		}
		return array;
	},
});
