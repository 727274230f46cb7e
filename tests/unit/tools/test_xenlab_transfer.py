"""Copies: what goes where, proven with the same shell lines on one machine."""

from __future__ import annotations

import os
import subprocess

import pytest
from xenlab.errors import LabError
from xenlab.transfer import pack_line, pull, push, unpack_line


class LocalSsh:
    """Stands for the connection; runs the remote side here."""

    def __init__(self, directory):
        self.directory = directory

    def command(self, remote):
        return ["sh", "-c", remote]


@pytest.fixture
def ssh(tmp_path):
    return LocalSsh(tmp_path)


@pytest.fixture(params=["plain", "with blank", "it's", "-dash", '"$(x)"', "line\nbreak"])
def name(request):
    return request.param


def test_a_file_gets_the_new_name(tmp_path, ssh, name):
    source = tmp_path / name
    source.write_text("text")
    source.chmod(0o751)
    target = tmp_path / "deep" / "er" / (name + ".new")
    push(ssh, [str(source)], str(target))
    assert target.read_text() == "text"
    assert target.stat().st_mode & 0o777 == 0o751
    assert os.listdir(target.parent) == [target.name]


def test_a_file_goes_into_a_directory(tmp_path, ssh, name):
    source = tmp_path / name
    source.write_text("text")
    (tmp_path / "there").mkdir()
    pull(ssh, [str(source)], str(tmp_path / "there"))
    assert (tmp_path / "there" / name).read_text() == "text"


def test_a_trailing_slash_makes_the_directory(tmp_path, ssh):
    (tmp_path / "file").write_text("text")
    pull(ssh, [str(tmp_path / "file")], f"{tmp_path}/new/")
    assert (tmp_path / "new" / "file").read_text() == "text"


def test_a_directory_gets_the_new_name_or_goes_inside(tmp_path, ssh):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_text("text")
    (tmp_path / "tree" / "link").symlink_to("sub/file")
    push(ssh, [f"{tmp_path}/tree/"], str(tmp_path / "copy"))
    push(ssh, [str(tmp_path / "tree")], str(tmp_path / "copy"))
    for copy in (tmp_path / "copy", tmp_path / "copy" / "tree"):
        assert (copy / "sub" / "file").read_text() == "text"
        assert os.readlink(copy / "link") == "sub/file"


def test_a_link_is_followed_and_keeps_its_name(tmp_path, ssh):
    (tmp_path / "real").write_text("text")
    (tmp_path / "tree").mkdir()
    (tmp_path / "latest").symlink_to("real")
    (tmp_path / "newest").symlink_to("tree")
    push(ssh, [str(tmp_path / "latest"), str(tmp_path / "newest")], str(tmp_path / "out"))
    assert not (tmp_path / "out" / "latest").is_symlink()
    assert (tmp_path / "out" / "latest").read_text() == "text"
    assert not (tmp_path / "out" / "newest").is_symlink()


def test_a_missing_source_is_named(tmp_path, ssh):
    with pytest.raises(LabError) as caught:
        push(ssh, [str(tmp_path / "none")], str(tmp_path / "out"))
    assert caught.value.code == "no-such-file"
    with pytest.raises(LabError) as caught:
        pull(ssh, [str(tmp_path / "none")], str(tmp_path / "out"))
    assert caught.value.code == "copy-failed"
    assert "none" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_failed_copy_leaves_the_old_file(tmp_path, ssh):
    (tmp_path / "old").write_text("old")
    with pytest.raises(LabError):
        pull(ssh, [str(tmp_path / "none")], str(tmp_path / "old"))
    assert (tmp_path / "old").read_text() == "old"
    assert os.listdir(tmp_path) == ["old"]


def test_the_two_lines_are_shell(tmp_path):
    for line in (pack_line("/a b"), unpack_line("a b", "/c d", inside=False)):
        assert subprocess.run(["sh", "-n", "-c", line]).returncode == 0
