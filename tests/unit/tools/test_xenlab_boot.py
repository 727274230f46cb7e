"""Waiting for a dom0: every way in which it does not come is one clear error."""

from __future__ import annotations

import subprocess

import pytest
from xenlab import boot
from xenlab.boot import READY_WORD, tail_of, wait_boot
from xenlab.errors import LabError


@pytest.fixture
def qemu():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_the_word_on_the_console_ends_the_wait(tmp_path, qemu):
    (tmp_path / "serial.log").write_text(f"noise\n{READY_WORD}\n")
    wait_boot(tmp_path, qemu)


@pytest.mark.parametrize("words", boot.DEATH_WORDS)
def test_a_panic_ends_the_wait_with_the_console_s_last_words(tmp_path, qemu, words):
    (tmp_path / "serial.log").write_text(f"first\nsecond\nthird\nfourth: {words}\n")
    with pytest.raises(LabError) as caught:
        wait_boot(tmp_path, qemu)
    assert caught.value.code == "boot-failed"
    assert "third | fourth" in str(caught.value)
    assert "first" not in str(caught.value)
    assert str(tmp_path / "serial.log") in str(caught.value)


def test_a_dead_qemu_ends_the_wait_with_its_complaint(tmp_path, qemu):
    (tmp_path / "qemu.log").write_text("qemu: no memory\n")
    qemu.kill()
    qemu.wait()
    with pytest.raises(LabError, match="no memory") as caught:
        wait_boot(tmp_path, qemu)
    assert caught.value.code == "qemu-died"


def test_the_wait_has_an_end(tmp_path, qemu, monkeypatch):
    monkeypatch.setattr(boot, "BOOT_PATIENCE", 0.0)
    with pytest.raises(LabError) as caught:
        wait_boot(tmp_path, qemu)
    assert caught.value.code == "timeout"


def test_the_tail_is_one_line(tmp_path):
    (tmp_path / "serial.log").write_bytes(b"a\r\n\n\xffb\nc\nd\n")
    assert "\n" not in tail_of(tmp_path)
    assert "\ufffdb | c | d" in tail_of(tmp_path)
