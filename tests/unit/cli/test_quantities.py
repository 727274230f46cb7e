"""Sizes, counts and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightvm.cli.output import age, milliseconds, moment, outcome, printable, size
from lightvm.cli.quantities import parse_count, parse_offset, parse_seconds, parse_size
from lightvm.model import Exit, ExitReason


@pytest.mark.parametrize(
    ("text", "kib"),
    [
        ("4", 4096),
        ("4M", 4096),
        ("4m", 4096),
        ("4MiB", 4096),
        ("4MB", 4096),
        ("512K", 512),
        ("1k", 1),
        ("2G", 2 * 1024 * 1024),
        (" 8M ", 8192),
    ],
)
def test_size_is_in_its_unit_and_a_plain_number_in_mib(text: str, kib: int) -> None:
    assert parse_size(text) == kib


@pytest.mark.parametrize(
    "text", ["", "M", "0", "0M", "-4M", "4.5M", "4T", "4iB", "4B", "4 M x", "٤M", "9" * 10, "0x4"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(min_value=1, max_value=10**8))
def test_size_that_is_printed_can_be_given_back(kib: int) -> None:
    assert parse_size(size(kib)) == kib


@pytest.mark.parametrize(
    ("kib", "text"), [(4096, "4M"), (512, "512K"), (1024 * 1024, "1G"), (1025, "1025K"), (0, "0K")]
)
def test_size_is_printed_in_the_largest_unit_that_divides_it(kib: int, text: str) -> None:
    assert size(kib) == text


def test_count_is_a_whole_number_from_one_on() -> None:
    assert parse_count("12") == 12
    for text in ("0", "-1", "1.0", "", "a", "\u0661", "1" * 10):
        with pytest.raises(ValueError, match="is not a whole number"):
            parse_count(text)


def test_offset_may_be_zero() -> None:
    assert parse_offset("0") == 0
    with pytest.raises(ValueError, match="is not a whole number"):
        parse_offset("-1")


@pytest.mark.parametrize(
    ("text", "ms"), [("5", 5000), ("0.25", 250), ("0.0001", 1), ("1.0006", 1001)]
)
def test_seconds_become_milliseconds_and_never_none(text: str, ms: int) -> None:
    assert parse_seconds(text) == ms


@pytest.mark.parametrize("text", ["", "0", "0.0", "-1", "1e3", "nan", "inf", "1.", ".5", "1s"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86400 * 3, "3d")],
)
def test_age_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_milliseconds_have_two_digits() -> None:
    assert milliseconds(412) == "0.41 ms"


def test_moment_is_local_and_to_the_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert moment(1_700_000_000.25) == "2023-11-14T22:13:20.250"
    assert moment(1e300) == "1e+300"
    monkeypatch.undo()
    time.tzset()


def test_outcome_has_the_status_only_where_there_is_one() -> None:
    assert outcome(Exit(reason=ExitReason.CRASH, at=0.0)) == "crash"
    assert outcome(Exit(reason=ExitReason.POWEROFF, at=0.0, status=0)) == "poweroff 0"


@given(st.text("aé \0\x07\x1b\x7f\x9b\u2028\u202e\ud800\U000e0001"))
def test_printable_text_has_no_control_characters(text: str) -> None:
    assert printable(text).isprintable()


def test_printable_text_shows_what_it_took_away() -> None:
    assert printable("a\x1b[2Jb\n\x9b\u202e") == "a\\x1b[2Jb\\n\\x9b\\u202e"
    assert printable("größe") == "größe"
