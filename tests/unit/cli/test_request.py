"""Requests from configuration files and options."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lightvm.cli import request
from lightvm.cli.request import build_request, find_image, numbered, read_source
from lightvm.errors import BadRequest
from lightvm.model import CreateRequest, DiskRequest, Mode, NetRequest, Policy, WaitFor
from tests.unit.cli.samples import EVERY_KEY


def request_of(path: Path, text: str, **options: object) -> CreateRequest:
    """Return the request of a configuration with this text."""
    path.write_text(text)
    return build_request(read_source(str(path)), options)


def test_kernel_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert build_request(read_source("k"), {}) == CreateRequest(image=f"{tmp_path}/k")


def test_configuration_may_have_every_key(tmp_path: Path) -> None:
    request = request_of(tmp_path / "vm.toml", EVERY_KEY)
    assert request == CreateRequest(
        image="/k",
        name="web",
        flavor="tiny",
        mode=Mode.XENSTORE,
        memory_kib=4096,
        vcpus=1,
        cpus=("0-3,^1",),
        cpu_weight=512,
        cpu_cap=50,
        cmdline="quiet",
        modules=("/m", f"{tmp_path}/n"),
        nets=(NetRequest(network="default", ipv4="10.0.0.2", mac="02:00:00:00:00:01"),),
        disks=(DiskRequest(path=f"{tmp_path}/d"), DiskRequest(path="/e", readonly=True)),
        metadata=b"text",
        paused=True,
        cold=True,
        on_poweroff=Policy.RESTART,
        on_reboot=Policy.DESTROY,
        on_crash=Policy.PRESERVE,
        wait=WaitFor.READY,
        timeout_ms=100,
        token="t",
    )
    assert None not in msgspec.structs.astuple(request)


def test_paths_are_relative_to_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)
    request = request_of(Path("etc/vm.toml"), 'image = "../k"')
    assert request.image == f"{tmp_path}/k"


@pytest.mark.parametrize(
    ("line", "kib"), [("memory = 4", 4096), ('memory = "512K"', 512), ("memory_kib = 7", 7)]
)
def test_memory_is_in_mib_or_in_its_unit_or_in_kib(tmp_path: Path, line: str, kib: int) -> None:
    assert request_of(tmp_path / "vm.toml", f'image = "/k"\n{line}').memory_kib == kib


def test_option_takes_the_place_of_its_key(tmp_path: Path) -> None:
    text = 'image = "/k"\nname = "web"\nvcpus = 1'
    request = request_of(tmp_path / "vm.toml", text, name="other", vcpus=None)
    assert (request.name, request.vcpus) == ("other", 1)


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ('image = "/k"\ncolour = "red"', "unknown field `colour`", ""),
        ('name = "web"', "missing required field `image`", ""),
        ("image = 5", "Expected `str`", ": image"),
        ('image = "/k"\nmodules = ["/m", 5]', "Expected `str`", ": modules[1]"),
        ('image = "/k"\nvcpus = "two"', "Expected `int", ": vcpus"),
        ('image = "/k"\nwait = "never"', "Invalid enum value", ": wait"),
        ('image = "/k"\nmemory = "much"', "is not a size", ": memory"),
        ('image = "/k"\nmemory = true', "neither a number of MiB nor a size", ": memory"),
        ('image = "/k"\nmemory = 1.5', "neither a number of MiB nor a size", ": memory"),
        ('image = "/k"\nmemory = 4\nmemory_kib = 4096', "exclude each other", ""),
        ("image = ", "not TOML", ""),
        ('image = "a"\nimage = "b"', "not TOML", ""),
    ],
)
def test_wrong_configuration_is_a_bad_request_that_names_the_place(
    tmp_path: Path, text: str, message: str, place: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        request_of(tmp_path / "vm.toml", text)
    assert message in caught.value.message
    assert caught.value.where == f"{tmp_path}/vm.toml{place}"


def test_configuration_that_is_not_text_is_a_bad_request(tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(BadRequest, match="not TOML"):
        read_source(str(tmp_path / "vm.toml"))


def test_configuration_that_cannot_be_read_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot read the configuration: No such file"):
        read_source(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(BadRequest, match="cannot read the configuration: Is a directory"):
        read_source(str(tmp_path / "folder.toml"))


def test_configuration_that_is_nested_too_deeply_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="not TOML"):
        request_of(tmp_path / "vm.toml", "image = " + "[" * 100_000)


def test_many_requests_are_numbered_in_name_and_token() -> None:
    request = CreateRequest(image="/k", name="web", token="t")
    assert [(r.name, r.token) for r in numbered(request, 2)] == [("web-1", "t-1"), ("web-2", "t-2")]


def test_many_requests_without_a_name_leave_it_to_the_daemon() -> None:
    assert numbered(CreateRequest(image="/k"), 2) == (CreateRequest(image="/k"),) * 2


def test_a_bare_name_that_is_no_file_here_is_a_guest_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests, here = tmp_path / "guests", tmp_path / "here"
    for directory in (guests, here):
        directory.mkdir()
        (directory / "mine").touch()
    (guests / "daytime").touch()
    monkeypatch.setattr(request, "GUESTS", str(guests))
    monkeypatch.chdir(here)
    assert find_image("daytime") == f"{guests}/daytime"
    assert find_image("mine") == f"{here}/mine"
    assert find_image("./daytime") == f"{here}/daytime"
    assert find_image("none") == f"{here}/none"
