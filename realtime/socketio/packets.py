"""Encodes and decodes Socket.IO 5 packets. Decoding is as strict as the JavaScript parser.

https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from frappe_realtime.contract.channels import MAX_ATTACHMENTS, PLACEHOLDER
from frappe_realtime.contract.events import RESERVED_EVENTS

from ..engine import Encoded
from ..json_codec import dumps, dumps_slowly, loads

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

_HEAD = re.compile(r"([0-6])(?:([0-9]{1,9})-)?(?:(/[^,]*),?)?([0-9]{1,16})?", re.ASCII)
_EVENT_OF_SITE = re.compile(r"2(/[^,?]*),([0-9]{1,16})?", re.ASCII)
"""The head of nearly every packet that clients of Frappe send."""


class PacketError(ValueError):
	"""The protocol does not allow a packet; the connection that sent it is closed."""


@dataclass(slots=True)
class Packet:
	"""One packet.

	Args:
		type: `CONNECT`, `EVENT`, ….
		namespace: With its slash.
		id: The number of an event that asks for an acknowledgement, or of the event that is acknowledged.
		data: The payload; None if the packet has none.
		missing: The number of attachments that follow the text of the packet.
	"""

	type: int
	namespace: str = "/"
	id: int | None = None
	data: Any = None
	missing: int = 0


def decode(text: str) -> Packet:
	"""Return the packet in `text`; the caller adds its attachments with `reconstruct`.

	Raises:
		PacketError: The packet is invalid.
	"""
	head = _EVENT_OF_SITE.match(text)
	if head is not None:
		kind, missing = EVENT, 0
		namespace, id = head.groups()
	else:
		head = _HEAD.match(text)
		if head is None:
			raise PacketError("unknown packet type")
		number, attachments, namespace, id = head.groups()
		kind = int(number)
		if (kind >= BINARY_EVENT) != (attachments is not None):
			raise PacketError("a number of attachments is required in binary packets and forbidden in others")
		missing = int(attachments) if attachments else 0
		if missing > MAX_ATTACHMENTS:
			raise PacketError(f"more than {MAX_ATTACHMENTS} attachments")
		namespace = namespace.partition("?")[0] if namespace else "/"
	rest = text[head.end() :]
	data = None
	if rest:
		try:
			data = loads(rest)
		except ValueError as error:
			raise PacketError("the data is not JSON") from error
	if not _valid(kind, data, bool(rest)):
		raise PacketError("the data does not fit the packet type")
	return Packet(kind, namespace, int(id) if id else None, data, missing)


def _valid(kind: int, data: Any, present: bool) -> bool:
	if kind in (EVENT, BINARY_EVENT):
		name = data[0] if isinstance(data, list) and data else None
		if isinstance(name, str):
			return name not in RESERVED_EVENTS
		return isinstance(name, int | float) and not isinstance(name, bool)
	if kind == CONNECT:
		return not present or isinstance(data, dict)
	if kind == DISCONNECT:
		return not present
	if kind == CONNECT_ERROR:
		return isinstance(data, str | dict)
	return isinstance(data, list)


def reconstruct(data: Any, attachments: Sequence[bytes]) -> Any:
	"""Return `data` with `attachments` in the place of their placeholders.

	Raises:
		PacketError: A placeholder denotes no attachment, or the data is nested too deeply.
	"""
	try:
		return _reconstruct(data, attachments)
	except RecursionError as error:
		raise PacketError("nested too deeply") from error


def _reconstruct(data: Any, attachments: Sequence[bytes]) -> Any:
	if isinstance(data, list):
		return [_reconstruct(item, attachments) for item in data]
	if not isinstance(data, dict):
		return data
	if data.get(PLACEHOLDER) is True:
		number = data.get("num")
		if type(number) is not int or not 0 <= number < len(attachments):
			raise PacketError("a placeholder without its attachment")
		return attachments[number]
	return {key: _reconstruct(value, attachments) for key, value in data.items()}


def deconstruct(data: Any, attachments: list[bytes]) -> Any:
	"""Return `data` with a placeholder for each binary value, which is appended to `attachments`.

	Raises:
		ValueError: It has an object that clients would take for a placeholder.
	"""
	if isinstance(data, bytes | bytearray | memoryview):
		attachments.append(bytes(data))
		return {PLACEHOLDER: True, "num": len(attachments) - 1}
	if isinstance(data, list | tuple):
		return [deconstruct(item, attachments) for item in data]
	if isinstance(data, dict):
		if data.get(PLACEHOLDER) is True:
			raise ValueError(
				f'beside binary values, Socket.IO reserves the key "{PLACEHOLDER}" for their places'
			)
		return {key: deconstruct(value, attachments) for key, value in data.items()}
	return data


def _text(kind: int, count: str, namespace: str, id: int | None, data: str) -> str:
	return f"{kind}{count}{'' if namespace == '/' else namespace + ','}{'' if id is None else id}{data}"


def encode_event(
	namespace: str, arguments: Sequence[Any], id: int | None = None, kind: int = EVENT
) -> Encoded:
	"""Return an event, or the acknowledgement of one.

	Args:
		namespace: With its slash.
		arguments: The name of the event and its arguments; for `ACK` the arguments alone.
		id: The number of an event that asks for an acknowledgement; for `ACK` the number of the event.
		kind: `EVENT` or `ACK`.

	Raises:
		TypeError: An argument is neither JSON nor binary.
		ValueError: An argument contains itself or is nested too deeply, or clients would not accept its binary values.
	"""
	try:
		data = orjson.dumps(arguments, option=orjson.OPT_NON_STR_KEYS).decode()
	except TypeError:
		return _encode_unusual(namespace, arguments, id, kind)
	if id is None and namespace != "/":
		return Encoded(f"{kind}{namespace},{data}")
	return Encoded(_text(kind, "", namespace, id, data))


def _encode_unusual(namespace: str, arguments: Sequence[Any], id: int | None, kind: int) -> Encoded:
	"""Encode what orjson refuses: binary values, which become attachments, and types that only `json` accepts."""
	attachments: list[bytes] = []
	count = ""
	try:
		data = dumps_slowly(arguments)
	except TypeError:
		data = dumps(deconstruct(arguments, attachments))
	if attachments:
		if len(attachments) > MAX_ATTACHMENTS:
			raise ValueError(
				f"there are {len(attachments)} binary values; Socket.IO allows {MAX_ATTACHMENTS} in an event"
			)
		kind = BINARY_EVENT if kind == EVENT else BINARY_ACK
		count = f"{len(attachments)}-"
	return Encoded(_text(kind, count, namespace, id, data), *attachments)


def with_offset(event: Encoded, offset: str) -> Encoded:
	"""Return `event`, which must not ask for an acknowledgement, with `offset` as its last argument."""
	text, *attachments = event.messages
	return Encoded(f'{str(text)[:-1]},"{offset}"]', *attachments)


def encode_connect(namespace: str, answer: dict[str, str]) -> Encoded:
	"""Return the answer to CONNECT: `{sid}`, and `pid` for a client that can recover."""
	return Encoded(_text(CONNECT, "", namespace, None, dumps(answer)))


def encode_connect_error(namespace: str, message: str, data: Any = None) -> Encoded:
	"""Return the refusal of CONNECT; the client gets an error with this `message` and `data`."""
	error = {"message": message} if data is None else {"message": message, "data": data}
	return Encoded(_text(CONNECT_ERROR, "", namespace, None, dumps(error)))


def encode_disconnect(namespace: str) -> Encoded:
	"""Return a DISCONNECT packet; socket.io-client does not reconnect by itself after it."""
	return Encoded(_text(DISCONNECT, "", namespace, None, ""))
