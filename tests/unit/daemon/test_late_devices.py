"""Devices that cannot be removed when their domain has gone: they go as soon as they can, without a new daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lightvm import errors
from lightvm.client import Client
from lightvm.daemon.devices import MEND_SECONDS
from lightvm.daemon.shell_maker import UNDO_SECONDS
from lightvm.model import NetRequest
from lightvm.testing import InMemory
from tests.cancel.leftovers import assert_nothing_left
from tests.unit.daemon.samples import serve_with_devices
from tests.waits import settle

NETS = [NetRequest(network="lan", mac="0a:00:00:00:00:01", ipv4="10.0.0.6")]


@pytest.fixture
async def lvm(tmp_path: Path, threadless: None) -> AsyncIterator[InMemory]:
    """A daemon in memory with a network, its pools full."""
    async with serve_with_devices(tmp_path) as served:
        yield served


@pytest.mark.parametrize(
    ("seconds", "breaks", "error"),
    [(2 * UNDO_SECONDS, False, errors.TimedOut), (1, True, errors.StoreFailed)],
    ids=["slow", "broken"],
)
async def test_a_shell_leaves_nothing_once_its_host_works_again(
    lvm: InMemory,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    breaks: bool,
    error: type[errors.LightVMError],
) -> None:
    go_on = lvm.hypervisor.hang("destroy")

    def refuse(*_: object, **__: object) -> None:
        raise errors.LinkFailed("injected")

    async def let_go_on() -> None:
        await trio.sleep(seconds)
        lvm.store.broken = breaks
        go_on.set()

    with monkeypatch.context() as patched:
        patched.setattr(lvm.ports, "add_port", refuse)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(let_go_on)
            with pytest.raises(error):
                await client.create(lvm.noop, nets=NETS, memory_kib=8192)
    await settle(2 * MEND_SECONDS)
    lvm.store.broken = False
    await settle(2 * MEND_SECONDS)
    await assert_nothing_left(lvm)


async def test_so_do_the_devices_of_a_domain(lvm: InMemory, client: Client) -> None:
    domid = (await client.create(lvm.noop, nets=NETS)).domain.domid
    back_end = f"/local/domain/0/backend/vif/{domid}/0/state"
    lvm.store.broken = True
    await client.destroy(str(domid))
    await settle(2 * MEND_SECONDS)
    assert back_end in lvm.store.nodes
    lvm.store.broken = False
    await settle(2 * MEND_SECONDS)
    assert back_end not in lvm.store.nodes
    assert f"vif{domid}.0" not in lvm.filters.ports
