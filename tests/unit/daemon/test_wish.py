"""A create request: every refusal with its field, every default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from lightvm.daemon.config import FlavorSection
from lightvm.daemon.devices import Devices, Dom0
from lightvm.daemon.disk.loops import MemoryLoops
from lightvm.daemon.journal import Journal
from lightvm.daemon.quiet import Quiet
from lightvm.daemon.shell_maker import ShellMaker
from lightvm.daemon.shells import Pools
from lightvm.daemon.wish import MAX_TIMEOUT_MS, Wish, check_request, make_wish
from lightvm.errors import BadImage, BadRequest, NoSuchFlavor
from lightvm.model import CreateRequest, WaitFor
from lightvm.testing import FakeHypervisor, MemoryFilters, MemoryPorts, MemoryStore, MemoryWires
from lightvm.xen.image import CMDLINE_MAX, MODULES_MAX, Image, parse
from tests.elf import make_kernel
from tests.unit.daemon.samples import make_config

REQUEST = CreateRequest(image="/k")
KERNEL = parse(make_kernel(), "/k")


@dataclass(frozen=True)
class Ask:
    """Checks requests against two flavors."""

    pools: Pools
    image: Image = KERNEL

    def __call__(self, **changes: object) -> Wish:
        request = msgspec.structs.replace(REQUEST, **changes)
        check_request(request)
        return make_wish(request, self.image, self.pools)

    def refused(self, **changes: object) -> str | None:
        """Return the field that a request is refused for."""
        with pytest.raises(BadRequest) as caught:
            self(**changes)
        return caught.value.where


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    config = make_config(
        tiny=FlavorSection(memory_kib=4096, vcpus=1),
        double=FlavorSection(memory_kib=4096, vcpus=2),
        big=FlavorSection(memory_kib=65536, vcpus=2),
    )
    hypervisor = FakeHypervisor()
    journal = Journal(tmp_path / "journal")
    store = MemoryStore()
    ports, loops = MemoryPorts(store), MemoryLoops(store)
    dom0 = Dom0(store, ports, MemoryFilters(), loops, MemoryWires())
    devices = Devices(config, dom0)
    pools = Pools(config, hypervisor, ShellMaker(hypervisor, journal, devices), Quiet())
    journal.close()
    return Ask(pools)


def test_a_request_for_nothing_special_gets_the_smallest_flavor(ask: Ask) -> None:
    wish = ask()
    assert wish.pool is ask.pools["tiny"]
    assert wish.shape is wish.pool.shape
    assert (wish.flavor, wish.nets) == ("tiny", ())


@pytest.mark.parametrize(
    ("memory", "vcpus", "flavor"),
    [
        (4096, None, "tiny"),
        (None, 2, "double"),
        (65536, None, "big"),
        (65536, 2, "big"),
        (65536, 1, ""),
        (8192, None, ""),
        (None, 3, ""),
    ],
)
def test_memory_and_vcpus_choose_the_flavor_of_exactly_that_shape(
    ask: Ask, memory: int | None, vcpus: int | None, flavor: str
) -> None:
    wish = ask(memory_kib=memory, vcpus=vcpus)
    assert wish.flavor == flavor
    assert (wish.pool is None) == (flavor == "")
    assert wish.shape.memory_kib == (memory or 4096)
    assert wish.shape.vcpus == (vcpus or wish.shape.vcpus)


def test_a_named_flavor_is_taken(ask: Ask) -> None:
    assert ask(flavor="big").shape.memory_kib == 65536
    assert ask(flavor="big", memory_kib=65536, vcpus=2).flavor == "big"


def test_an_unknown_flavor_is_no_such_flavor(ask: Ask) -> None:
    with pytest.raises(NoSuchFlavor) as caught:
        ask(flavor="huge")
    assert caught.value.where == "huge"


@pytest.mark.parametrize("changes", [{"memory_kib": 4096}, {"vcpus": 1}])
def test_a_flavor_with_another_shape_than_asked_for_is_refused(
    ask: Ask, changes: dict[str, int]
) -> None:
    assert ask.refused(flavor="big", **changes) == "request.flavor"


@pytest.mark.parametrize("image", ["", "kernel", "./kernel", "/a\0b"])
def test_an_image_that_is_no_absolute_path_is_refused(ask: Ask, image: str) -> None:
    assert ask.refused(image=image) == "request.image"


@pytest.mark.parametrize("name", ["", "7", "a b", "x" * 64])
def test_a_bad_name_is_refused(ask: Ask, name: str) -> None:
    assert ask.refused(name=name) == "request.name"


@pytest.mark.parametrize("memory", [0, -4, 1020, 1023, 4097, (1 << 34) + 4])
def test_a_bad_memory_size_is_refused(ask: Ask, memory: int) -> None:
    assert ask.refused(memory_kib=memory) == "request.memory_kib"


@pytest.mark.parametrize("vcpus", [0, -1, 129])
def test_a_bad_number_of_vcpus_is_refused(ask: Ask, vcpus: int) -> None:
    assert ask.refused(vcpus=vcpus) == "request.vcpus"


def test_the_ends_of_the_ranges_are_accepted(ask: Ask) -> None:
    for memory, vcpus in [(1024, 1), (1 << 34, 128)]:
        shape = ask(memory_kib=memory, vcpus=vcpus).shape
        assert (shape.memory_kib, shape.vcpus) == (memory, vcpus)


@pytest.mark.parametrize("cmdline", ["x" * (CMDLINE_MAX + 1), "ü" * (CMDLINE_MAX // 2 + 1), "a\0"])
def test_a_bad_command_line_is_refused(ask: Ask, cmdline: str) -> None:
    assert ask.refused(cmdline=cmdline) == "request.cmdline"


def test_the_longest_command_line_is_accepted(ask: Ask) -> None:
    assert ask(cmdline="x" * CMDLINE_MAX).request.cmdline == "x" * CMDLINE_MAX


def test_too_many_modules_are_refused(ask: Ask) -> None:
    assert ask.refused(modules=("/m",) * (MODULES_MAX + 1)) == "request.modules"
    assert len(ask(modules=("/m",) * MODULES_MAX).request.modules or ()) == MODULES_MAX


def test_a_create_does_not_wait_for_an_exit(ask: Ask) -> None:
    assert ask.refused(wait=WaitFor.EXITED) == "request.wait"


def test_a_paused_guest_is_not_waited_for(ask: Ask) -> None:
    for wait in WaitFor.READY, WaitFor.RUNNING:
        assert ask.refused(wait=wait, paused=True) == "request.wait"
    assert ask(paused=True).request.paused


@pytest.mark.parametrize("timeout", [0, -1, MAX_TIMEOUT_MS + 1])
def test_a_bad_timeout_is_refused(ask: Ask, timeout: int) -> None:
    assert ask.refused(timeout_ms=timeout, wait=WaitFor.READY) == "request.timeout_ms"


def test_a_timeout_without_a_wait_bounds_nothing_and_is_refused(ask: Ask) -> None:
    assert ask.refused(timeout_ms=1500) == "request.timeout_ms"


@pytest.mark.parametrize("token", ["", "x" * 129])
def test_a_bad_token_is_refused(ask: Ask, token: str) -> None:
    assert ask.refused(token=token) == "request.token"


def test_an_image_that_does_not_fit_is_refused(ask: Ask) -> None:
    image = parse(make_kernel(size=4 << 20), "/k")
    with pytest.raises(BadImage, match="too large"):
        make_wish(REQUEST, image, ask.pools)


async def test_modules_are_read_and_placed_in_their_order(
    ask: Ask, tmp_path: Path, threadless: None
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 10)
    wish = ask(modules=(str(tmp_path / "a"), str(tmp_path / "b")))
    image = parse(make_kernel(), "/k")
    placed = await wish.place_modules(image, 1000)
    assert [bytes(module.data) for module in placed] == [b"a" * 10, b"b" * 10]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the module is empty"), (bytes(1001), "over the limit"), (None, "cannot be opened")],
)
async def test_a_bad_module_is_refused_with_its_path(
    ask: Ask, tmp_path: Path, threadless: None, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "module"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadImage, match=reason) as caught:
        await ask(modules=(str(path),)).place_modules(parse(make_kernel(), "/k"), 1000)
    assert caught.value.where == str(path)


async def test_a_relative_module_is_refused(ask: Ask, threadless: None) -> None:
    with pytest.raises(BadImage, match="not absolute"):
        await ask(modules=("module",)).place_modules(parse(make_kernel(), "/k"), 1000)


def test_the_shells_of_its_pool_are_to_fit_the_image_unless_it_wants_none(ask: Ask) -> None:
    large = parse(make_kernel(size=1 << 20), "/large")
    narrow = ask.pools["tiny"].shape.window_kib
    make_wish(msgspec.structs.replace(REQUEST, cold=True), large, ask.pools)
    assert ask.pools["tiny"].shape.window_kib == narrow
    wish = make_wish(REQUEST, large, ask.pools)
    assert wish.shape.window_kib * 1024 >= large.end
    assert wish.shape == ask.pools["tiny"].shape
