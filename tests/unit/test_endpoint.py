"""Where the daemon is looked for, and what one is told when it is not there."""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightvm import endpoint, errors


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as opened:
        yield opened


def refusal(sock: socket.socket, path: Path | str) -> errors.NoDaemon:
    """Return what connecting to a path raises."""
    with pytest.raises(errors.NoDaemon) as caught:
        endpoint.try_connect(sock, str(path))
    return caught.value


def test_path_that_is_given_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTVM_SOCKET", "/env")
    assert endpoint.socket_path("/given") == "/given"
    assert endpoint.socket_path(Path("/given")) == "/given"
    assert endpoint.socket_path() == "/env"


def test_default_path_is_in_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoint.socket_path() == "/run/lightvm/lightvm.sock"
    monkeypatch.setenv("LIGHTVM_SOCKET", "")
    assert endpoint.socket_path() == "/run/lightvm/lightvm.sock"


def test_missing_socket_says_to_start_the_daemon(sock: socket.socket, tmp_path: Path) -> None:
    error = refusal(sock, tmp_path / "none")
    assert error.code == "no-daemon"
    assert "start lightvmd, or set LIGHTVM_SOCKET" in error.message
    assert error.where == str(tmp_path / "none")


def test_socket_without_a_listener_says_to_start_the_daemon(
    sock: socket.socket, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / "sock"))
    assert "start lightvmd" in refusal(sock, tmp_path / "sock").message


class ForbiddenSocket(socket.socket):
    """A socket that no daemon's socket lets in."""

    def connect(self, address: object) -> None:
        raise PermissionError(13, "Permission denied")


def test_forbidden_socket_names_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sock").touch()
    status = os.stat(tmp_path / "sock")
    monkeypatch.setattr(os, "stat", lambda _: os.stat_result((*status[:5], 77, *status[6:])))
    group = grp.struct_group(("vmops", "x", 77, []))
    monkeypatch.setattr(grp, "getgrgid", {77: group}.__getitem__)
    with ForbiddenSocket(socket.AF_UNIX) as sock:
        error = refusal(sock, tmp_path / "sock")
    assert error.message == (
        "permission denied: become a member of the group 'vmops', or ask as root"
    )


def test_forbidden_socket_that_cannot_be_looked_at_names_the_usual_group(tmp_path: Path) -> None:
    with ForbiddenSocket(socket.AF_UNIX) as sock:
        assert "the group 'lightvm'" in refusal(sock, tmp_path / "hidden").message


def test_forbidden_socket_of_root_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sock").touch()
    status = os.stat(tmp_path / "sock")
    monkeypatch.setattr(os, "stat", lambda _: os.stat_result((*status[:5], 0, *status[6:])))
    with ForbiddenSocket(socket.AF_UNIX) as sock:
        assert "only root" in refusal(sock, tmp_path / "sock").message


@pytest.mark.parametrize("path", ["/" + "x" * 200, "/nul\0in/it"])
def test_path_that_no_socket_can_have_is_no_daemon(sock: socket.socket, path: str) -> None:
    assert refusal(sock, path).code == "no-daemon"


def test_file_that_is_no_socket_is_no_daemon(sock: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(sock, tmp_path / "file").code == "no-daemon"
