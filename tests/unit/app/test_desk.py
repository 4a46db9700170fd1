"""Which members of documents the lists of the Desk are told."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import pytest

from frappe_realtime.errors import PresenceRefused, SidecarUnavailable

ANN = {"users": [{"user": "ann", "full_name": "Ann"}], "count": 1}
BEN = {"users": [{"user": "ben", "full_name": "Ben"}], "count": 3}


class Setting:
	"""The endpoint, with answers of the sidecars and of the permission check."""

	def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
		self.found: dict[str, Any] | Exception = {}
		self.readable = {"T-1", "T-3", "4"}
		self.places: list[str] = []
		self.questions: list[Any] = []
		self.desk = importlib.import_module("frappe_realtime.desk")
		monkeypatch.setattr(self.desk, "users_of_places", self._users_of_places)
		monkeypatch.setattr(self.desk, "has_permissions", self._has_permissions)

	def _users_of_places(self, places: list[str]) -> dict[str, Any]:
		self.places = places
		if isinstance(self.found, Exception):
			raise self.found
		return self.found

	def _has_permissions(self, questions: list[Any]) -> list[bool]:
		self.questions = questions
		return [name in self.readable for _, name, _ in questions]


@pytest.fixture
def setting(frappe: Any, monkeypatch: pytest.MonkeyPatch) -> Setting:
	"""A site that has turned it on."""

	def throw(message: str, error: type[Exception]) -> None:
		raise error(message)

	frappe.whitelist = lambda **options: lambda function: function
	frappe.ValidationError, frappe.throw = type("ValidationError", (Exception,), {}), throw
	monkeypatch.setattr(sys.modules["frappe.utils"], "get_fullname", None, raising=False)
	frappe.conf["realtime_desk_collaboration"] = 1
	return Setting(monkeypatch)


def test_a_user_is_told_the_members_of_documents_that_may_be_read(setting: Setting) -> None:
	setting.found = {"doc:Task/T-1": ANN, "doc:Task/T-2": BEN, "doc:Task/4": BEN}
	names = json.dumps(["T-1", "T-2", "T-3", 4])
	assert setting.desk.members_of_documents("Task", names) == {"T-1": ANN, "4": BEN}
	assert setting.places == ["doc:Task/T-1", "doc:Task/T-2", "doc:Task/T-3", "doc:Task/4"]
	assert setting.questions == [["Task", name, "read"] for name in ("T-1", "T-2", "4")], (
		"only those with members"
	)


def test_a_question_does_not_extend_the_session(setting: Setting, frappe: Any) -> None:
	setting.desk.members_of_documents("Task", ["T-1"])
	assert frappe.flags.read_only


def test_nothing_is_asked_for_no_document_and_unless_the_site_turns_it_on(
	setting: Setting, frappe: Any
) -> None:
	assert setting.desk.members_of_documents("Task", []) == {}
	del frappe.conf["realtime_desk_collaboration"]
	assert setting.desk.members_of_documents("Task", ["T-1"]) == {}
	assert setting.places == []


def test_without_a_sidecar_nobody_is_anywhere(setting: Setting) -> None:
	setting.found = SidecarUnavailable("no answer")
	assert setting.desk.members_of_documents("Task", ["T-1"]) == {}


def test_what_is_malformed_is_refused(setting: Setting, frappe: Any) -> None:
	for arguments in (
		("Task", "T-1"),
		("Task", None),
		(None, ["T-1"]),
		("Task", [{}]),
		("Task", ["1"] * 101),
	):
		with pytest.raises(frappe.ValidationError):
			setting.desk.members_of_documents(*arguments)
	setting.found = PresenceRefused("bad_request", "no place")
	with pytest.raises(frappe.ValidationError, match="no place"):
		setting.desk.members_of_documents("Task", ["T-1"])
