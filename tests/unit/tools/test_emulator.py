"""Guests that the emulated processor may have lost are told from those that crash otherwise."""

from __future__ import annotations

import pytest

from tests.lab.emulator import find_lost

DUMP = """(XEN) HVM38 restore: CPU 0
(XEN) d{domid}v{vcpu} Triple fault - invoking HVM shutdown action 3
(XEN) *** Dumping Dom{domid} vcpu#{vcpu} state: ***
(XEN) ----[ Xen-4.17.7  x86_64  debug=n  Not tainted ]----
(XEN) CPU:    0
(XEN) RIP:    {rip}
(XEN) RFLAGS: 0000000000000246   CONTEXT: hvm guest (d{domid}v{vcpu})
(XEN) rax: 00000003a462b000   rbx: 0000000000000082   rcx: 0000000000002c58
"""
XEN, GUEST = "e008:[<ffff82d0402044a5>]", "0000:[<000000000001069d>]"


@pytest.mark.parametrize("rip", [XEN, GUEST])
def test_who_took_a_triple_fault_is_lost(rip: str) -> None:
    log = DUMP.format(domid=159, vcpu=0, rip=rip) + DUMP.format(domid=160, vcpu=1, rip=rip)
    assert find_lost(log) == {159, 160}


def test_who_crashed_otherwise_is_not() -> None:
    assert find_lost("(XEN) Domain 38 (vcpu#0) crashed on cpu#1:\n") == set()


def test_a_log_of_nothing_has_none() -> None:
    assert find_lost("") == set()
