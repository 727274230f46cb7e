"""Bad input on real Xen: one error that says what and where, nothing changed, the next request unaffected."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightvm import errors
from lightvm.blocking import Client
from lightvm.model import CreateRequest, WaitFor
from lightvm.testing import make_image
from tests.lab.daemon import NOOP, DaemonProcess

GOOD = Path(NOOP).read_bytes() if Path(NOOP).exists() else b""


def images() -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"#!/bin/sh\n" * 100,
        "truncated": GOOD[: len(GOOD) // 2],
        "header-only": GOOD[:52],
        "no-note": GOOD.replace(b"Xen\0", b"Xyn\0"),
        "too-large": make_image(memsz=8 << 20),
        "on-boot-page": make_image(paddr=0x1000),
        "above-low-ram": make_image(paddr=0xDFFF_F000, size=8192),
    }


@pytest.mark.parametrize("kind", sorted(images()))
def test_bad_image_is_refused_and_nothing_is_left(
    client: Client, daemon: DaemonProcess, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / kind
    path.write_bytes(images()[kind])
    daemon.wait_full()
    with pytest.raises(errors.BadImage) as caught:
        client.create(str(path))
    assert str(path) in (caught.value.where or "")
    assert client.list(all=True) == ()
    assert client.pool_status()[0].shells == daemon.high
    assert client.create(NOOP, wait=WaitFor.READY).domain.ready is not None


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        (CreateRequest(image="relative"), "request.image"),
        (CreateRequest(image=NOOP, name="-"), "request.name"),
        (CreateRequest(image=NOOP, memory_kib=1000), "request.memory_kib"),
        (CreateRequest(image=NOOP, vcpus=1000), "request.vcpus"),
        (CreateRequest(image=NOOP, cmdline="x" * 5000), "request.cmdline"),
    ],
)
def test_bad_request_names_its_field(client: Client, request_: CreateRequest, where: str) -> None:
    result = client.create_many([request_])[0]
    assert result.failure is not None
    assert (result.failure.code, result.failure.where) == ("bad-request", where)


def test_more_memory_than_xen_has_is_refused(client: Client) -> None:
    with pytest.raises(errors.OutOfMemory):
        client.create(NOOP, memory_kib=64 << 20)
    assert client.create(NOOP, wait=WaitFor.READY).domain.ready is not None
