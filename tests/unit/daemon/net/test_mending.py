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
        self.is_gone = False

    def run(self, commands: str, *, json: bool = False) -> str:
        if commands.startswith("list"):
            self.looks += 1
            return "jump to_guest" if self.whole else ""
        makes_all = commands.startswith("add table")
        if self.is_gone and not makes_all:
            raise LinkFailed("No such file or directory", "nftables")
        self.generation += 1
        self.whole |= makes_all
        return ""

    def say(self) -> int:
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


def test_a_change_that_made_all_anew_is_one(kernel: Kernel, filters: NftFilters) -> None:
    kernel.is_gone = True
    filters.add({"vif6.0": OTHER})
    assert kernel.generation == 3
    assert not filters.mend()
    assert kernel.looks == 2


def test_changes_before_the_first_look_do_not_spare_it(kernel: Kernel) -> None:
    filters = NftFilters(lambda: kernel)
    filters.rebuild((), {}, guards=False, quiet=True)
    for _ in range(3):
        filters.add({"vif6.0": OTHER})
        filters.forget(["vif6.0"])
        kernel.whole = False
    assert filters.mend()
    assert kernel.looks == 1


@pytest.mark.parametrize("flush", [False, True])
def test_those_of_others_are_one_before_ours_or_after(
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
