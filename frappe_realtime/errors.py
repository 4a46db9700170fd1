"""Exceptions that a handler of an app may catch. Free of imports, so that both the sidecar and a web process can use it."""


class RealtimeError(Exception):
	"""Base class of the exceptions below."""


class WebUnavailable(RealtimeError):
	"""The web process gave no answer in the time allowed.

	Raised by `Socket.has_permission` and `Socket.frappe_request`. The permission is unknown then, neither granted nor
	denied; try again later.
	"""
