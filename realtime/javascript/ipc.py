"""Frames between the sidecar and its Node process: operations as JSON, and their binary arguments.

A frame is, with all lengths as 4 bytes, big-endian: the length of the rest; the length of the JSON; the JSON; then the
attachments, each after its length. The JSON is a list of operations. An operation is a list that begins with its name; its
attachments are the next `count` of the frame. `arguments` are those of an event, with a placeholder for each attachment as
in a binary packet of Socket.IO.

To the Node process:

    load_app      app, file
    add_socket    namespace, id, description (`SocketReplica.description`), rooms
    call_handlers id, apps                    call the exported function of each app with the socket
    join, leave   id, room                    the sidecar has moved the socket
    move_done     id, room, inside            result of a `join` or `leave` of a handler
    remove_socket id, reason
    replicating   true or false               report the properties of sockets: there are other sidecars
    add_remotes   namespace, [[id, user, user type, rooms, properties], …]   sockets of other sidecars, new or changed
    move_remote   namespace, id, room, inside
    remove_remote namespace, id
    remove_namespace namespace                no socket of this sidecar is in it any more
    event         id, token or null, count, arguments, true if it is a call (`CALL` in the contract)
    ack           id, token, count, arguments the client has acknowledged an `emit`
    permission    token, allowed              response to `has_permission`
    answer        token, [code, message] or null, value   response to `presence`: [members, count] or null; and to
                                              `rewind`: the number of events
    secret        value                       the secret that Frappe shares with its realtime server
    ready                                     all that comes before has been sent
    watch         sites                       report the calls of listeners on these sites, and on no others
    ping          number

From the Node process:

    app_loaded    app, error or null, files   after `load_app`; all files that are loaded now
    ready                                     all operations up to `ready` have been executed
    join, leave   id, room
    emit          id, token or null, json, count
    broadcast     namespace, rooms or null, excluded rooms, local, json, count
    ack           id, token, json, count      a handler has acknowledged an `event`
    call_ended    id, token, app, code, reason, stack   no handler will answer a call
    disconnect    id, close
    properties    id, properties              what handlers keep on a socket
    command       namespace, id, action, room a handler does something to a socket of another sidecar (`SocketTable.command`)
    has_permission token, id, doctype, name
    presence      token, id, namespace, join, set, leave or members, place, json of [state or null, seconds or null]
    rewind        token, id, room, json of ["latest" or a number]
    pong          number
    latency       app, counts, seconds        listeners called since the last report: by bucket, and the sum of their times
    calls         site, app, event, calls, seconds, errors, last error
                                              listeners called on a watched site since the last report
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..json_codec import dumps, loads
from ..socketio import packets

MAX_FRAME = 64 * 1024 * 1024
"""Most bytes of a frame: a process that sends more in one turn of its event loop would exhaust the memory of the sidecar."""


class FrameError(ValueError):
	"""Bytes that are not a valid frame."""


def encode_frame(operations: Sequence[str], attachments: Sequence[bytes]) -> bytes:
	"""Encode one frame.

	Args:
		operations: The JSON text of each operation.
		attachments: The attachments of all operations, in order.
	"""
	json = f"[{','.join(operations)}]".encode()
	size = 4 + len(json) + sum(4 + len(attachment) for attachment in attachments)
	parts = [size.to_bytes(4, "big"), len(json).to_bytes(4, "big"), json]
	for attachment in attachments:
		parts += (len(attachment).to_bytes(4, "big"), attachment)
	return b"".join(parts)


class FrameDecoder:
	"""Decodes a stream of bytes into frames."""

	def __init__(self) -> None:
		self._buffer = bytearray()

	def feed(self, data: bytes) -> Iterator[tuple[list[Any], list[bytes]]]:
		"""Yield the operations and attachments of each frame that `data` completes.

		Raises:
			FrameError: If a frame is too large or malformed.
		"""
		self._buffer += data
		while len(self._buffer) >= 4:
			end = 4 + int.from_bytes(self._buffer[:4], "big")
			if end > MAX_FRAME:
				raise FrameError(f"a frame of {end} bytes")
			if len(self._buffer) < end:
				return
			frame = bytes(self._buffer[4:end])
			del self._buffer[:end]
			yield _decode(frame)


def _decode(frame: bytes) -> tuple[list[Any], list[bytes]]:
	position = 4 + int.from_bytes(frame[:4], "big")
	try:
		operations = loads(frame[4:position])
	except ValueError as error:
		raise FrameError("the operations are not JSON") from error
	attachments = []
	while position < len(frame):
		start = position + 4
		position = start + int.from_bytes(frame[position:start], "big")
		attachments.append(frame[start:position])
	if not isinstance(operations, list) or position != len(frame):
		raise FrameError("a malformed frame")
	return operations, attachments


def encode_arguments(arguments: list[Any]) -> tuple[str, list[bytes]]:
	"""Return the JSON of the arguments of an event, with placeholders for binary values, and the attachments."""
	try:
		return dumps(arguments), []
	except TypeError:
		attachments: list[bytes] = []
		return dumps(packets.deconstruct(arguments, attachments)), attachments
