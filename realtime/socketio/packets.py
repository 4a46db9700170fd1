"""Socket.IO 5 packets: text and attachments to values, and back. As strict as the JavaScript parser.

https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from frappe_realtime.contract import RESERVED_EVENTS

from ..engine import Encoded
from ..json_codec import dumps, dumps_slowly, loads

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

MAX_ATTACHMENTS = 10
"""The limit of socket.io-parser."""

_HEAD = re.compile(r"([0-6])(?:([0-9]{1,9})-)?(?:(/[^,]*),?)?([0-9]{1,16})?", re.ASCII)
_EVENT_OF_SITE = re.compile(r"2(/[^,?]*),([0-9]{1,16})?", re.ASCII)
"""The head of what clients of Frappe send, nearly always."""


class PacketError(ValueError):
	"""A packet that the protocol does not allow; the connection that sent it is closed."""


@dataclass(slots=True)
class Packet:
	"""One packet. `data` is None when the packet has none; `missing` is the number of attachments still to come."""

	type: int
	namespace: str = "/"
	id: int | None = None
	data: Any = None
	missing: int = 0


def decode(text: str) -> Packet:
	"""Read a packet's text; the caller adds `missing` attachments with `reconstruct`. Raises `PacketError`."""
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
			raise PacketError("attachments are announced by binary packets, and only by them")
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
	"""Put `attachments` where `data` has their placeholders. Raises `PacketError` for a placeholder of none of them."""
	try:
		return _reconstruct(data, attachments)
	except RecursionError as error:
		raise PacketError("nested too deeply") from error


def _reconstruct(data: Any, attachments: Sequence[bytes]) -> Any:
	if isinstance(data, list):
		return [_reconstruct(item, attachments) for item in data]
	if not isinstance(data, dict):
		return data
	if data.get("_placeholder") is True:
		number = data.get("num")
		if type(number) is not int or not 0 <= number < len(attachments):
			raise PacketError("a placeholder without its attachment")
		return attachments[number]
	return {key: _reconstruct(value, attachments) for key, value in data.items()}


def deconstruct(data: Any, attachments: list[bytes]) -> Any:
	"""`data` with a placeholder for each binary value, which is appended to `attachments`."""
	if isinstance(data, bytes | bytearray | memoryview):
		attachments.append(bytes(data))
		return {"_placeholder": True, "num": len(attachments) - 1}
	if isinstance(data, list | tuple):
		return [deconstruct(item, attachments) for item in data]
	if isinstance(data, dict):
		return {key: deconstruct(value, attachments) for key, value in data.items()}
	return data


def _text(kind: int, count: str, namespace: str, id: int | None, data: str) -> str:
	return f"{kind}{count}{'' if namespace == '/' else namespace + ','}{'' if id is None else id}{data}"


def encode_event(
	namespace: str, arguments: Sequence[Any], id: int | None = None, kind: int = EVENT
) -> Encoded:
	"""An event: `arguments` begins with its name; with `id` an acknowledgement is asked for.

	With `kind` ACK it is the acknowledgement of event `id`. Raises TypeError when an argument is neither JSON nor binary,
	ValueError when it contains itself or is nested too deeply.
	"""
	try:
		data = orjson.dumps(arguments, option=orjson.OPT_NON_STR_KEYS).decode()
	except TypeError:
		return _encode_unusual(namespace, arguments, id, kind)
	if id is None and namespace != "/":
		return Encoded(f"{kind}{namespace},{data}")
	return Encoded(_text(kind, "", namespace, id, data))


def _encode_unusual(namespace: str, arguments: Sequence[Any], id: int | None, kind: int) -> Encoded:
	"""What orjson refuses: bytes, which become attachments, and what the slower writer takes."""
	attachments: list[bytes] = []
	count = ""
	try:
		data = dumps_slowly(arguments)
	except TypeError:
		data = dumps(deconstruct(arguments, attachments))
	if attachments:
		kind = BINARY_EVENT if kind == EVENT else BINARY_ACK
		count = f"{len(attachments)}-"
	return Encoded(_text(kind, count, namespace, id, data), *attachments)


def with_offset(event: Encoded, offset: str) -> Encoded:
	"""The `event`, which asks for no acknowledgement, with `offset` as one more argument at its end."""
	text, *attachments = event.messages
	return Encoded(f'{str(text)[:-1]},"{offset}"]', *attachments)


def encode_connect(namespace: str, answer: dict[str, str]) -> Encoded:
	"""The answer to CONNECT."""
	return Encoded(_text(CONNECT, "", namespace, None, dumps(answer)))


def encode_connect_error(namespace: str, message: str, data: Any = None) -> Encoded:
	"""The refusal of CONNECT; the client reads `message` and `data` of the error it gets."""
	error = {"message": message} if data is None else {"message": message, "data": data}
	return Encoded(_text(CONNECT_ERROR, "", namespace, None, dumps(error)))


def encode_disconnect(namespace: str) -> Encoded:
	"""The server ends this namespace for the client, which does not come back by itself."""
	return Encoded(_text(DISCONNECT, "", namespace, None, ""))
