"""Which failure explains which, and what the last lines of the doctor say."""

from __future__ import annotations

import json
from pathlib import Path

from realtime.operations.findings import FAILED, NOTE, OK, Finding, KeyChange, explanation, verdict


def failure(code: str, site: str = "", what: str = "broken") -> Finding:
	return Finding(code, FAILED, what, "a key in a file", "a command", site=site)


def test_a_failure_explains_those_of_the_checks_that_depend_on_it() -> None:
	redis = failure("redis.down")
	for code in ("subscription.missing", "delivery.lost", "public.port", "secret.other"):
		assert explanation(failure(code, "one.test"), [redis]) == "redis.down"
	for code in ("web.down", "handlers.import", "sidecar.node"):
		assert explanation(failure(code, what=code), [redis]) == ""


def test_a_failure_of_one_site_explains_only_those_of_that_site() -> None:
	earlier = [failure("maintenance.on", "one.test")]
	assert explanation(failure("delivery.failed", "one.test"), earlier) == "maintenance.on"
	assert explanation(failure("delivery.failed", "two.test"), earlier) == ""


def test_only_a_cause_explains() -> None:
	consequence = failure("subscription.missing")
	consequence.follows_from = "redis.down"
	assert explanation(failure("history.denied"), [consequence]) == ""
	assert explanation(failure("public.port"), [Finding("sidecar.ok", OK, "")]) == ""


def test_the_same_cause_is_listed_once() -> None:
	assert explanation(failure("reach.web"), [failure("reach.web")]) == "reach.web"
	assert explanation(failure("public.path", "one.test"), [failure("public.path", "two.test")]) == ""


def test_the_last_line_names_cause_place_and_command() -> None:
	cause, consequence = failure("redis.down", what="no\n  answer"), failure("delivery.lost")
	consequence.follows_from = "redis.down"
	note = Finding("version.old", NOTE, "old", "the process", "bench restart")
	assert verdict([cause, consequence, note]) == "Cause: no answer. Where: a key in a file. Run: a command"
	assert str(consequence) == "note    broken (follows from redis.down)"


def test_without_a_cause_the_last_lines_are_the_notes_with_a_remedy() -> None:
	well = [Finding("redis.ok", OK, "answers"), Finding("public.hides", NOTE, "hides")]
	assert verdict(well) == "Everything that could be checked works."
	note = Finding("version.old", NOTE, "old", "the process", "bench restart", site="one.test")
	assert verdict([*well, note]).splitlines() == [
		"Everything that could be checked works, but:",
		"Note: one.test: old. Where: the process. Run: bench restart",
	]


def test_json_has_no_password() -> None:
	change = KeyChange(Path("/b/c.json"), "redis_queue", "redis://u:secret@a:1", "redis://u:secret@a:2")
	finding = failure("redis.port")
	finding.fix = change
	shown = json.dumps(finding.as_json())
	assert "secret" not in shown
	assert finding.as_json()["fix"] == {
		"file": "/b/c.json",
		"key": "redis_queue",
		"before": "redis://a:1",
		"after": "redis://a:2",
	}
