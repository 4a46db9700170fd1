"use strict";
// Frames to and from the sidecar, over the Unix socket it has left open for this process.
//
// A frame is: its length (4 bytes), the length of its JSON (4 bytes), the JSON, and attachments, each with its length
// (4 bytes) before it. The JSON is a list of operations, lists that begin with a name. What one turn of the loop has to
// say goes out in one frame.

const net = require("node:net");

const PAUSE_ABOVE = 8 * 1024 * 1024; // bytes that the sidecar has not read yet; more operations wait until it has

class Channel {
	/** `receive(operations, attachments)` gets each frame, `turn()` is called when those that came together are through. */
	constructor(fd, receive, turn) {
		this._receive = receive;
		this._turn = turn;
		this._chunks = [];
		this._size = 0;
		this._operations = [];
		this._attachments = [];
		this._flushing = false;
		this._drained = null;
		this._socket = new net.Socket({ fd, readable: true, writable: true });
		this._socket.on("data", (chunk) => this._read(chunk));
		// The sidecar has ended, whatever the reason: nobody is left to work for.
		this._socket.on("end", () => process.exit(0));
		this._socket.on("error", () => process.exit(0));
		this._socket.on("close", () => process.exit(0));
		this._socket.on("drain", () => this._resume());
	}

	/** Queue one operation; its attachments are Buffers or views, in the order in which the operation counts them. */
	send(operation, attachments) {
		this._operations.push(operation);
		if (attachments) this._attachments.push(...attachments);
		if (!this._flushing) {
			this._flushing = true;
			setImmediate(() => this._flush());
		}
	}

	/** Whether the sidecar lags behind; `drained` is then called once when it has caught up. */
	congested(drained) {
		if (this._socket.writableLength < PAUSE_ABOVE) return false;
		this._drained = drained;
		this._socket.pause();
		return true;
	}

	_flush() {
		this._flushing = false;
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

	_resume() {
		const drained = this._drained;
		this._drained = null;
		if (drained) {
			this._socket.resume();
			drained();
		}
	}

	_read(chunk) {
		this._chunks.push(chunk);
		this._size += chunk.length;
		while (this._size >= 4) {
			if (this._chunks[0].length < 4) this._join();
			const length = this._chunks[0].readUInt32BE(0);
			if (this._size < 4 + length) break;
			this._join();
			const all = this._chunks[0];
			const frame = all.subarray(4, 4 + length);
			this._chunks = length + 4 < all.length ? [all.subarray(4 + length)] : [];
			this._size -= 4 + length;
			this._deliver(frame);
		}
		this._turn();
	}

	_join() {
		if (this._chunks.length > 1) this._chunks = [Buffer.concat(this._chunks)];
	}

	_deliver(frame) {
		const end = 4 + frame.readUInt32BE(0);
		const attachments = [];
		for (let at = end; at < frame.length; ) {
			const length = frame.readUInt32BE(at);
			// Copied: a handler may keep it, and would keep the whole frame with it.
			attachments.push(Buffer.from(frame.subarray(at + 4, at + 4 + length)));
			at += 4 + length;
		}
		this._receive(JSON.parse(frame.toString("utf8", 4, end)), attachments);
	}
}

module.exports = { Channel };
