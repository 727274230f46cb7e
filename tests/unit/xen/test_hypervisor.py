"""The values of the seam."""

from __future__ import annotations

import pytest

from lightvm.model import ExitReason
from lightvm.xen.domain_info import exit_reason
from lightvm.xen.hypervisor import FIRST_WINDOW_KIB, Shape


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, ExitReason.POWEROFF),
        (1, ExitReason.REBOOT),
        (2, ExitReason.SUSPEND),
        (3, ExitReason.CRASH),
        (4, ExitReason.CRASH),
        (0xDEADBEEF, ExitReason.CRASH),
    ],
)
def test_a_shutdown_code_has_a_reason(code: int, reason: ExitReason) -> None:
    assert exit_reason(code) is reason


def test_a_small_domain_is_all_window() -> None:
    assert Shape.of(1024, 1).window_kib == FIRST_WINDOW_KIB


@pytest.mark.parametrize("memory", [1024, 4096, 65536, 1 << 24])
@pytest.mark.parametrize("vcpus", [1, 2, 128])
def test_a_shape_is_one_that_the_engine_takes(memory: int, vcpus: int) -> None:
    shape = Shape.of(memory, vcpus)
    assert 8 <= shape.window_kib <= memory
    assert shape.window_kib % 4 == 0
    assert shape.pool_kib >= 64
    assert shape.pool_kib % 4 == 0


def test_the_pool_grows_with_memory_and_vcpus() -> None:
    assert Shape.of(8192, 1).pool_kib > Shape.of(4096, 1).pool_kib
    assert Shape.of(4096, 2).pool_kib > Shape.of(4096, 1).pool_kib
