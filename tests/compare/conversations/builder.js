"use strict";
// Two users edit one page in Builder by yjs: updates, awareness, and one of them disconnects.
//
// Needs yjs, y-protocols and lib0 on NODE_PATH, and servers with the same random numbers (`fixed_random.js`).

const Y = require("yjs");
const sync = require("y-protocols/sync");
const awareness_protocol = require("y-protocols/awareness");
const encoding = require("lib0/encoding");
const decoding = require("lib0/decoding");

const SYNC = 0;
const AWARENESS = 1;

function editor(socket, client_id) {
	const doc = new Y.Doc();
	doc.clientID = client_id;
	const awareness = new awareness_protocol.Awareness(doc);
	const send = (kind, write) => {
		const encoder = encoding.createEncoder();
		encoding.writeVarUint(encoder, kind);
		write(encoder);
		if (encoding.length(encoder) > 1) socket.emit("yjs-message", Array.from(encoding.toUint8Array(encoder)));
	};
	socket.on("yjs-message", (message) => {
		const decoder = decoding.createDecoder(new Uint8Array(message));
		if (decoding.readVarUint(decoder) === SYNC) {
			send(SYNC, (encoder) => sync.readSyncMessage(decoder, encoder, doc, "server"));
		} else {
			awareness_protocol.applyAwarenessUpdate(awareness, decoding.readVarUint8Array(decoder), "server");
		}
	});
	doc.on("update", (update, origin) => {
		if (origin !== "server") send(SYNC, (encoder) => sync.writeUpdate(encoder, update));
	});
	awareness.on("update", ({ added, updated, removed }, origin) => {
		if (origin === "server") return;
		const update = awareness_protocol.encodeAwarenessUpdate(awareness, [...added, ...updated, ...removed]);
		send(AWARENESS, (encoder) => encoding.writeVarUint8Array(encoder, update));
	});
	return { doc, awareness, text: doc.getText("page") };
}

module.exports = async ({ connect, settle }) => {
	const docname = "page-1";
	const ann = await connect("ann");
	const ben = await connect("ben");
	const first = editor(ann, 1001);
	const second = editor(ben, 1002);
	ann.emit("yjs-message", [0, 0]);
	ann.emit("yjs-connect", { docname });
	await settle();
	first.text.insert(0, "Hello");
	await settle();
	ben.emit("yjs-connect", { docname });
	await settle();
	second.text.insert(second.text.length, " world ü€😀");
	await settle();
	first.awareness.setLocalState({ name: "Ann", cursor: 3 });
	await settle();
	second.awareness.setLocalState({ name: "Ben", cursor: 5 });
	await settle();
	first.text.delete(0, 1);
	await settle();
	ben.emit("yjs-disconnect");
	await settle();
	first.text.insert(0, "J");
	await settle();
	ann.disconnect();
	await settle();
};
