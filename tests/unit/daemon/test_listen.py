"""One daemon to a state directory, and its socket."""

from __future__ import annotations

import errno
import grp
import os
import socket
from pathlib import Path

import pytest

from lightvm.daemon import listen
from lightvm.daemon.listen import lock_state, open_listeners
from lightvm.errors import AlreadyRunning, BadConfig


def test_a_state_directory_is_made_where_it_is_missing(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    with lock_state(state):
        assert state.is_dir()


def test_a_second_daemon_is_told_that_one_is_running(tmp_path: Path) -> None:
    with (
        lock_state(tmp_path),
        pytest.raises(AlreadyRunning) as caught,
        lock_state(tmp_path),
    ):
        pass
    assert caught.value.where == str(tmp_path)


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_state(tmp_path):
            pass


def test_a_lock_ends_with_a_holder_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_state(tmp_path):
        raise ZeroDivisionError
    with lock_state(tmp_path):
        pass


def test_what_fails_under_the_lock_is_not_taken_for_another_daemon(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), lock_state(tmp_path):
        raise BlockingIOError


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("")
    with pytest.raises(BadConfig) as caught, lock_state(path):
        pass
    assert caught.value.where == str(path)


def test_the_socket_takes_connections_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "run" / "sock"
    with open_listeners(path, "") as listeners, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        peer, _ = listeners[0].accept()
        peer.close()
    assert not path.exists()


def test_the_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_listeners(tmp_path / "sock", ""):
            assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o660
            assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_the_socket_belongs_to_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: seen.append((uid, gid)))
    group = grp.getgrgid(os.getgid())
    with open_listeners(tmp_path / "sock", group.gr_name):
        assert seen == [(-1, group.gr_gid)]


def test_a_missing_group_is_no_error(tmp_path: Path) -> None:
    with open_listeners(tmp_path / "sock", "no-such-group"):
        pass


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with open_listeners(path, ""), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("name", ["x" * 120, "file/sock"])
def test_a_socket_that_cannot_be_made_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / name
    with pytest.raises(BadConfig) as caught, open_listeners(path, ""):
        pass
    assert caught.value.where == str(path)


def test_a_socket_that_cannot_be_given_to_its_group_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, uid: int, gid: int) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    path = tmp_path / "sock"
    group = grp.getgrgid(os.getgid()).gr_name
    with pytest.raises(BadConfig, match="not permitted"), open_listeners(path, group):
        pass
    assert not path.exists()


def test_passed_sockets_are_used_and_ours_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as passed:
        monkeypatch.setattr(listen, "activated_sockets", lambda: [passed])
        with open_listeners(tmp_path / "sock", "") as listeners:
            assert listeners == [passed]
            assert not (tmp_path / "sock").exists()
