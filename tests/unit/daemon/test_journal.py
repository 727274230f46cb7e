"""The journal: what is written is read again, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightvm.daemon import journal as journal_module
from lightvm.daemon.config import ServiceSection
from lightvm.daemon.journal import (
    DomainRecord,
    ExitRecord,
    GoneRecord,
    Journal,
    Past,
    Record,
    ServiceGoneRecord,
    ServiceRecord,
    ShellRecord,
    read_journal,
)
from lightvm.errors import JournalFailed
from lightvm.model import CreateRequest, Exit, ExitReason
from tests.journals import written

EXIT = Exit(reason=ExitReason.POWEROFF, at=12.5, status=-3)


def shell(uuid: str) -> ShellRecord:
    return ShellRecord(uuid=uuid, flavor="tiny")


def domain(uuid: str, *, token: str | None = None) -> DomainRecord:
    return DomainRecord(
        uuid=uuid,
        domid=7,
        console_port=1,
        control_port=2,
        name="web",
        flavor="tiny",
        memory_kib=4096,
        vcpus=1,
        created=1.5,
        request=CreateRequest(image="/k", cmdline='a "b" \n ü', token=token),
    )


def service(name: str, *, removing: bool = False) -> ServiceRecord:
    section = ServiceSection(image="/k", network="lan", addresses=("10.0.0.2", "10.0.0.8/30"))
    return ServiceRecord(name=name, section=section, removing=removing)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


def test_a_missing_journal_is_an_empty_past(path: Path) -> None:
    assert read_journal(path) == Past()


def test_records_are_read_as_they_were_written(path: Path, journal: Journal) -> None:
    journal.append(shell("a"))
    journal.append(domain("b", token="t"))
    journal.append(domain("c"))
    journal.append(ExitRecord(uuid="c", exit=EXIT))
    past = read_journal(path)
    assert past.shells == {"a": shell("a")}
    assert past.domains == {"b": domain("b", token="t"), "c": domain("c")}
    assert past.exits == {"c": EXIT}
    assert past == journal.past


def test_a_shell_that_became_a_domain_is_no_shell(journal: Journal) -> None:
    journal.append(shell("a"))
    journal.append(domain("a"))
    assert journal.past.shells == {}
    assert list(journal.past.domains) == ["a"]


@pytest.mark.parametrize("records", [[shell("a")], [domain("a"), ExitRecord(uuid="a", exit=EXIT)]])
def test_nothing_is_left_of_what_is_gone(journal: Journal, records: list[Record]) -> None:
    for record in records:
        journal.append(record)
    journal.append(GoneRecord(uuid="a"))
    assert journal.past == Past()


def test_services_are_known_by_name_until_they_are_gone(path: Path, journal: Journal) -> None:
    for name in ("web", "two"):
        journal.append(service(name))
    journal.append(service("web", removing=True))
    journal.append(ServiceGoneRecord(name="two"))
    journal.append(ServiceGoneRecord(name="nobody"))
    journal.rewrite()
    assert read_journal(path).services == {"web": service("web", removing=True)}
    journal.append(ServiceGoneRecord(name="web"))
    assert read_journal(path) == Past()


def test_a_new_journal_keeps_what_lives_and_drops_the_rest(path: Path, journal: Journal) -> None:
    for record in (shell("a"), shell("b"), GoneRecord(uuid="b"), domain("c")):
        journal.append(record)
    Journal(path).close()
    assert path.read_bytes().count(b"\n") == 2
    assert read_journal(path) == journal.past


def test_a_journal_is_for_its_owner_only(path: Path, journal: Journal) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "line", [b"rubbish", b"{}", b'{"op":"nope"}', b"\xff\xfe", b'{"op":"shell"}', b"[1]", b"null"]
)
def test_a_line_that_is_no_record_costs_nothing_but_itself(
    path: Path, journal: Journal, line: bytes
) -> None:
    journal.append(shell("a"))
    journal.append(shell("b"))
    first, second = written(path).splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)
    past = read_journal(path)
    assert list(past.shells) == ["a", "b"]
    assert past.unreadable == 1


def test_a_torn_last_line_is_left_out_and_not_written_on(path: Path, journal: Journal) -> None:
    journal.append(shell("a"))
    whole = written(path)
    journal.append(domain("b"))
    more = written(path)
    for length in range(len(whole) + 1, len(more) - 1):
        torn = more[:length] + bytes(100)
        copy = path.with_name("copy")
        copy.write_bytes(torn)
        later = Journal(copy)
        later.append(shell("c"))
        later.close()
        assert later.past.unreadable == 1
        past = read_journal(copy)
        assert (list(past.shells), list(past.domains), past.unreadable) == (["a", "c"], [], 0)


def test_a_journal_that_cannot_be_read_fails(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed) as caught:
        Journal(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_a_journal_that_cannot_be_made_fails(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed):
        Journal(tmp_path / "missing" / "journal")


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file claim any more space."""

    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)


def fill_room(path: Path, journal: Journal) -> None:
    """Write records until the next needs more room."""
    while path.stat().st_size - len(written(path)) >= 100:
        journal.append(shell("a" * 10))


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a journal claim little room ahead."""
    monkeypatch.setattr(journal_module, "ROOM_BYTES", 1000)


def test_a_journal_grows_when_its_room_is_used_up(
    little_room: None, path: Path, journal: Journal
) -> None:
    for number in range(50):
        journal.append(domain(f"d{number}"))
    assert len(read_journal(path).domains) == 50
    assert path.stat().st_size - len(written(path)) <= 1000


def test_room_is_claimed_before_it_is_needed(
    little_room: None, path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_room(path, journal)
    journal.tend()
    with monkeypatch.context() as patch:
        fill_disk(patch)
        journal.append(domain("b"))
    assert list(read_journal(path).domains) == ["b"]


def test_a_record_for_which_there_is_no_space_leaves_no_trace(
    little_room: None, path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_room(path, journal)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        fill_disk(patch)
        for _ in range(2):
            with pytest.raises(JournalFailed) as caught:
                journal.append(domain("b"))
    assert caught.value.where == str(path)
    assert "no space left" in caught.value.message.lower()
    assert path.read_bytes() == before
    assert list(journal.past.domains) == []
    journal.append(shell("c"))
    assert list(read_journal(path).shells) == ["a" * 10, "c"]


def test_a_journal_that_somebody_removed_is_an_error_when_it_has_to_grow(
    little_room: None, path: Path, journal: Journal
) -> None:
    fill_room(path, journal)
    path.unlink()
    with pytest.raises(JournalFailed):
        journal.append(domain("b"))


def test_a_rewrite_without_space_leaves_the_old_file_good(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(shell("a"))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(JournalFailed):
            journal.rewrite()
    assert path.read_bytes() == before
    journal.append(shell("b"))
    assert list(read_journal(path).shells) == ["a", "b"]


def test_neither_a_rewrite_nor_a_close_leaves_a_descriptor_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    journal = Journal(path)
    for _ in range(3):
        journal.rewrite()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    journal.close()
    journal.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_rewrite_without_space_leaves_no_descriptor_open(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(shell("a"))
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(JournalFailed):
            journal.rewrite()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_short_journal_is_not_compacted(path: Path, journal: Journal) -> None:
    journal.append(shell("a"))
    journal.append(GoneRecord(uuid="a"))
    journal.tend()
    assert path.read_bytes().count(b"\n") == 2


def test_a_long_journal_is_rewritten_with_what_lives(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 500)
    journal.append(domain("keep"))
    journal.rewrite()
    while len(written(path)) <= 500:
        journal.append(shell("a"))
        journal.append(GoneRecord(uuid="a"))
    journal.tend()
    assert path.read_bytes().count(b"\n") == 1
    journal.append(shell("b"))
    past = read_journal(path)
    assert (list(past.domains), list(past.shells)) == (["keep"], ["b"])


def test_a_journal_that_is_long_with_what_lives_is_not_rewritten_again_and_again(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 500)
    for number in range(10):
        journal.append(domain(f"d{number}"))
    journal.rewrite()
    inode = path.stat().st_ino
    journal.append(shell("a"))
    journal.tend()
    assert path.stat().st_ino == inode


LIFE: list[Callable[[str], Record]] = [
    shell,
    domain,
    lambda uuid: ExitRecord(uuid=uuid, exit=EXIT),
    lambda uuid: GoneRecord(uuid=uuid),
]


@given(lives=st.lists(st.sampled_from("abcd"), max_size=16), rewrites=st.sets(st.integers(0, 16)))
def test_a_journal_says_the_same_however_often_it_is_rewritten(
    tmp_path_factory: pytest.TempPathFactory, lives: list[str], rewrites: set[int]
) -> None:
    path, past = tmp_path_factory.getbasetemp() / "journal", Past()
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for number, uuid in enumerate(lives):  # each time, what comes next in its life
        record = LIFE[lives[:number].count(uuid) % len(LIFE)](uuid)
        journal.append(record)
        past.note(record)
        if number in rewrites:
            journal.rewrite()
    journal.close()
    assert journal.past == read_journal(path) == past
