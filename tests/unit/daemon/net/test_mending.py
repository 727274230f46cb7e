"""When the tables are looked at: that takes a time that grows with them, so our own changes are no reason to."""

from __future__ import annotations

import pytest

from lightvm.daemon.net import nftables
from lightvm.daemon.net.filters import Port, Source
from lightvm.daemon.net.nftables import Nftables, NftFilters
from lightvm.errors import LinkFailed

ONE, OTHER = (Port("lvbr0", False, Source(f"02:16:3e:00:00:0{n}", f"10.77.0.{n}")) for n in (5, 6))


class Kernel(Nftables):
    """Counts changes, as the kernel does, and looks at the tables; finds them whole as long as they are."""

    def __init__(self) -> None:
        self.generation = 1
        self.looks = 0
        self.whole = True
        self.is_mute = False

    def run(self, commands: str, *, json: bool = False) -> str:
        if commands.startswith("list"):
            self.looks += 1
            return "jump to_guest" if self.whole else ""
        self.generation += 1
        self.whole |= commands.startswith("add table")
        return ""

    def say(self) -> int:
        if self.is_mute:
            raise LinkFailed("injected")
        return self.generation

    def change(self, *, flush: bool) -> None:
        """Change the tables as somebody else does."""
        self.generation += 1
        self.whole &= not flush


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(nftables, "read_generation", kernel.say)
    return kernel


@pytest.fixture
def filters(kernel: Kernel) -> NftFilters:
    """A host with one port, whose tables were found whole."""
    filters = NftFilters(lambda: kernel)
    filters.rebuild((), {"vif5.0": ONE}, guards=False, quiet=True)
    assert not filters.mend()
    assert kernel.looks == 1
    return filters


def test_our_own_changes_are_no_reason_to_look(kernel: Kernel, filters: NftFilters) -> None:
    filters.add({"vif6.0": OTHER})
    filters.bind({"vif6.0": ONE.source})
    filters.forget(["vif6.0"])
    assert not filters.mend()
    assert kernel.looks == 1


@pytest.mark.parametrize("flush", [False, True])
def test_those_of_others_are_before_ours_or_after(
    kernel: Kernel, filters: NftFilters, flush: bool
) -> None:
    kernel.change(flush=flush)
    filters.add({"vif6.0": OTHER})
    assert filters.mend() is flush
    filters.mend()
    looks = kernel.looks
    filters.forget(["vif6.0"])
    kernel.change(flush=flush)
    assert filters.mend() is flush
    assert kernel.looks > looks


def test_a_change_whose_number_is_not_known_is_looked_after(
    kernel: Kernel, filters: NftFilters
) -> None:
    before = kernel.generation
    kernel.is_mute = True
    filters.add({"vif6.0": OTHER})
    kernel.is_mute = False
    assert kernel.generation == before + 1
    assert not filters.mend()
    assert kernel.looks == 2
