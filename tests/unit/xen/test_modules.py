"""Where boot modules are placed, and which images fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightvm.errors import BadImage
from lightvm.xen.image import BOOT_PAGE, LOW_RAM_LIMIT, PAGE, check_fits, parse, place_modules
from tests.elf import make_kernel

RAM = 1 << 20
IMAGE = parse(make_kernel(paddr=0x10000, size=0x1800), "/k")


def test_modules_lie_at_the_top_the_first_lowest_each_on_its_own_page() -> None:
    placed = place_modules(IMAGE, (("/a", b"a" * 5000), ("/b", b"b")), RAM)
    assert [(s.paddr, s.memsz) for s in placed] == [(RAM - 3 * PAGE, 5000), (RAM - PAGE, 1)]
    assert bytes(placed[0].data) == b"a" * 5000


def test_no_modules_are_no_segments() -> None:
    assert place_modules(IMAGE, (), RAM) == ()


def test_modules_stay_below_the_limit_of_low_ram() -> None:
    placed = place_modules(IMAGE, (("/a", b"a"),), 8 << 30)
    assert placed[0].paddr == LOW_RAM_LIMIT - PAGE


def test_a_module_may_fill_all_that_is_left() -> None:
    room = RAM - 0x12000
    assert place_modules(IMAGE, (("/a", bytes(room)),), RAM)[0].paddr == 0x12000


def test_a_module_that_would_lie_on_the_image_is_refused() -> None:
    room = RAM - 0x12000
    with pytest.raises(BadImage) as caught:
        place_modules(IMAGE, (("/a", bytes(room + PAGE)),), RAM)
    assert caught.value.where == "/a"
    assert "do not fit into 1024 KiB" in caught.value.message


def test_a_module_larger_than_the_ram_is_refused() -> None:
    with pytest.raises(BadImage):
        place_modules(IMAGE, (("/a", bytes(2 * RAM)),), RAM)


def test_a_module_on_the_boot_page_is_refused() -> None:
    low = parse(make_kernel(paddr=0, size=PAGE), "/k")
    assert place_modules(low, (("/a", bytes(RAM - 2 * PAGE)),), RAM)[0].paddr == BOOT_PAGE[1]
    with pytest.raises(BadImage):
        place_modules(low, (("/a", bytes(RAM - 2 * PAGE + 1)),), RAM)


@given(sizes=st.lists(st.integers(1, 30 * PAGE), max_size=16))
def test_placed_modules_touch_neither_each_other_nor_the_image(sizes: list[int]) -> None:
    modules = tuple((f"/m{n}", bytes(size)) for n, size in enumerate(sizes))
    try:
        placed = place_modules(IMAGE, modules, RAM)
    except BadImage:
        assert sum(sizes) + len(sizes) * PAGE > RAM - IMAGE.end
        return
    bottom = IMAGE.end
    for segment, size in zip(placed, sizes, strict=True):
        assert segment.paddr % PAGE == 0
        assert segment.paddr >= bottom
        assert segment.memsz == size
        bottom = segment.end
    assert bottom <= RAM


def test_an_image_that_ends_with_the_ram_fits() -> None:
    check_fits(IMAGE, IMAGE.end)


def test_an_image_that_ends_above_the_ram_does_not_fit() -> None:
    with pytest.raises(BadImage) as caught:
        check_fits(IMAGE, IMAGE.end - 1)
    assert caught.value.where == "/k"
    assert "needs 70 KiB of RAM, the domain has 69" in caught.value.message


def test_more_ram_than_lies_low_does_not_help_an_image() -> None:
    high = parse(make_kernel(paddr=LOW_RAM_LIMIT - PAGE), "/k")
    check_fits(high, 8 << 30)
    with pytest.raises(BadImage):
        check_fits(high, LOW_RAM_LIMIT - PAGE)
