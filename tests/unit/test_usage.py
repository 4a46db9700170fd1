"""The counts of users and addresses that sidecars tell each other."""

from __future__ import annotations

from realtime.usage import REPEAT, Usage


def usage(sidecars: int = 2, max_entries: int = 100) -> Usage:
	one = Usage(max_entries)
	one.set_sidecars(sidecars)
	one.to_publish()
	return one


def test_small_counts_are_not_published() -> None:
	"""An eighth of an equal share of the limit is the least that matters."""
	one = usage(sidecars=2)
	one.set("few", 9, most=160)
	assert one.to_publish() is None
	one.set("many", 10, most=160)
	assert one.to_publish() == {"many": 10}
	one.set("many", 9, most=160)
	assert one.to_publish() == {}, "the others must forget it"
	assert one.to_publish() is None


def test_small_limits_are_exact() -> None:
	one = usage(sidecars=4)
	one.set("one", 1, most=32)
	assert one.to_publish() == {"one": 1}
	one.set("one", 0, most=32)
	assert one.to_publish() == {}


def test_unchanged_counts_are_repeated_in_case_a_message_was_lost() -> None:
	one = usage()
	one.set("many", 5, most=5)
	assert one.to_publish() == {"many": 5}
	assert [one.to_publish() for _ in range(REPEAT)] == [None] * (REPEAT - 1) + [{"many": 5}]


def test_that_there_are_no_counts_any_more_is_repeated_too() -> None:
	"""Otherwise a sidecar that has missed the message refuses the user for ever."""
	one, other = usage(), usage()
	assert [one.to_publish() for _ in range(2 * REPEAT)] == [None] * 2 * REPEAT, "there never was one"
	one.set("many", 5, most=5)
	other.take("one", (one.to_publish() or {}).items(), more=False)
	one.set("many", 0, most=5)
	assert one.to_publish() == {}, "this message is lost"
	for _ in range(REPEAT):
		if (counts := one.to_publish()) is not None:
			other.take("one", counts.items(), more=False)
	assert other.of_others("many") == 0


def test_nothing_is_kept_while_there_is_no_other_sidecar() -> None:
	one = usage(sidecars=1)
	one.set("many", 5, most=5)
	assert one.to_publish() is None


def test_a_recount_when_a_sidecar_appears_or_disappears() -> None:
	one = Usage(100)
	one.recount.connect(lambda: one.set("many", 5, most=5))
	one.set_sidecars(2)
	assert one.to_publish() == {"many": 5}
	one.set_sidecars(3)
	assert one.to_publish() == {"many": 5}, "the new one does not know it"
	one.set_sidecars(1)
	assert one.to_publish() is None


def test_the_counts_of_the_others_are_added_up() -> None:
	one = usage()
	one.take("a", [("user", 2), ("other", 1)], more=False)
	one.take("b", [("user", 3)], more=False)
	assert one.of_others("user") == 5
	one.take("a", [("user", 4)], more=False)
	assert (one.of_others("user"), one.of_others("other")) == (7, 0)
	one.take("a", [("more", 1)], more=True)
	assert (one.of_others("user"), one.of_others("more")) == (7, 1)
	one.forget("a")
	assert (one.of_others("user"), one.of_others("more")) == (3, 0)
	one.forget("b")
	assert one.of_others("user") == 0
	assert len(one) == 0


def test_the_number_of_counts_is_bounded() -> None:
	one = usage(max_entries=2)
	full: list[int] = []
	one.full.connect(lambda: full.append(1))
	one.take("a", [("1", 1), ("2", 1), ("3", 1)], more=False)
	assert (len(one), full) == (2, [1])
	one.take("a", [("1", 5)], more=True)
	assert one.of_others("1") == 5
