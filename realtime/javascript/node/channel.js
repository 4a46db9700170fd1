"use strict";
// The IPC channel to the sidecar; the format of its frames is described in realtime/javascript/ipc.py.
// The operations of one turn of the event loop are sent in one frame.

const net = require("node:net");

const MAX_UNREAD = 8 * 1024 * 1024; // bytes that the sidecar has not read; beyond, no operations are executed until it has

class Channel {
	/**
	 * @param {number} fd the open socket
	 * @param {(operations: any[][], attachments: Buffer[]) => void} on_frame
	 * @param {() => void} on_read called after all frames that were received together
	 */
	constructor(fd, on_frame, on_read) {
		this._on_frame = on_frame;
		this._on_read = on_read;
		this._chunks = [];
		this._size = 0;
		this._operations = [];
		this._attachments = [];
		this._flush_scheduled = false;
		this._on_drain = null;
		this._socket = new net.Socket({ fd, readable: true, writable: true });
		this._socket.on("data", (chunk) => this._read(chunk));
		// The sidecar has ended, whatever the reason.
		this._socket.on("end", () => process.exit(0));
		this._socket.on("error", () => process.exit(0));
		this._socket.on("close", () => process.exit(0));
		this._socket.on("drain", () => this._drained());
	}

	/** Send one operation. Its attachments are Buffers, in the order of their placeholders. */
	send(operation, attachments) {
		this._operations.push(operation);
		if (attachments) this._attachments.push(...attachments);
		if (!this._flush_scheduled) {
			this._flush_scheduled = true;
			setImmediate(() => this._flush());
		}
	}

	/** Read no more until `resume`: what comes waits in the sidecar, which bounds it. */
	pause() {
		this._socket.pause();
	}

	/** Read again. */
	resume() {
		if (this._socket.isPaused()) this._socket.resume();
	}

	/** Whether the sidecar leaves too much unread. If so, `on_drain` is called once it has read it. */
	is_congested(on_drain) {
		if (this._socket.writableLength < MAX_UNREAD) return false;
		this._on_drain = on_drain;
		return true;
	}

	_flush() {
		this._flush_scheduled = false;
		const json = Buffer.from(JSON.stringify(this._operations));
		const attachments = this._attachments;
		this._operations = [];
		this._attachments = [];
		const head = Buffer.allocUnsafe(8);
		const parts = [head, json];
		let size = 4 + json.length;
		for (const attachment of attachments) {
			const length = Buffer.allocUnsafe(4);
			length.writeUInt32BE(attachment.byteLength);
			parts.push(length, attachment);
			size += 4 + attachment.byteLength;
		}
		head.writeUInt32BE(size, 0);
		head.writeUInt32BE(json.length, 4);
		this._socket.write(Buffer.concat(parts));
	}

	_drained() {
		const on_drain = this._on_drain;
		this._on_drain = null;
		on_drain?.();
	}

	_read(chunk) {
		this._chunks.push(chunk);
		this._size += chunk.length;
		while (this._size >= 4) {
			if (this._chunks[0].length < 4) this._join_chunks();
			const length = this._chunks[0].readUInt32BE(0);
			if (this._size < 4 + length) break;
			this._join_chunks();
			const all = this._chunks[0];
			const frame = all.subarray(4, 4 + length);
			this._chunks = length + 4 < all.length ? [all.subarray(4 + length)] : [];
			this._size -= 4 + length;
			this._decode(frame);
		}
		this._on_read();
	}

	_join_chunks() {
		if (this._chunks.length > 1) this._chunks = [Buffer.concat(this._chunks)];
	}

	_decode(frame) {
		const end = 4 + frame.readUInt32BE(0);
		const attachments = [];
		for (let position = end; position < frame.length; ) {
			const length = frame.readUInt32BE(position);
			const start = position + 4;
			position = start + length;
			// A copy: a handler that keeps the attachment must not keep the whole frame.
			attachments.push(Buffer.from(frame.subarray(start, position)));
		}
		this._on_frame(JSON.parse(frame.toString("utf8", 4, end)), attachments);
	}
}

module.exports = { Channel };
