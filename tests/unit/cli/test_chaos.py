"""Configurations of the system of 2017: each key honoured, or refused by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightvm.cli.request import build_request, read_source
from lightvm.errors import BadRequest
from lightvm.model import CreateRequest, DiskRequest, Mode, NetRequest

LEAST: dict[str, object] = {"name": "a", "kernel": "/k", "memory": 8, "vcpus": 1}
VBD = {"target": "/d", "type": "file", "vdev": "xvda", "access": "w"}


def read(folder: Path, text: str) -> CreateRequest:
    """Return the request of a configuration."""
    path = folder / "guest.json"
    path.write_text(text)
    return build_request(read_source(str(path)), {})


def refused(folder: Path, text: str) -> tuple[str, str | None]:
    """Return what is said of a configuration, and of which key."""
    with pytest.raises(BadRequest) as caught:
        read(folder, text)
    where = caught.value.where
    assert where is not None
    return str(caught.value), where.removeprefix(f"{folder}/guest.json").removeprefix(": ") or None


def test_the_least_that_chaos_takes_is_a_request(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(LEAST)) == CreateRequest(
        image="/k", name="a", memory_kib=8192, vcpus=1, nets=(), disks=()
    )


def test_every_key_is_honoured(tmp_path: Path) -> None:
    request = read(
        tmp_path,
        """
        { "name": "daytime-1", "kernel": "/images/daytime", "cmdline": "quiet", "ramdisk": "/r",
          "memory": 8, "vcpus": { "count": 2, "cpumap": [[1], [0, 3]] }, "address_size": 32, "paused": true,
          "vifs": [ { "ip": "10.6.6.11", "mac": "00:16:3e:00:00:0b", "bridge": "xenbr" } ],
          "vbds": [ { "target": "/d", "type": "file", "vdev": "xvda", "access": "w" },
                    { "target": "/e", "type": "phy", "vdev": "xvdb", "access": "r" } ],
          "xen": { "dev_method": "noxs", "pvh": true } }
        """,
    )
    assert request == CreateRequest(
        image="/images/daytime",
        name="daytime-1",
        cmdline="quiet",
        modules=("/r",),
        memory_kib=8192,
        vcpus=2,
        cpus=("1", "0,3"),
        mode=Mode.NOXS,
        paused=True,
        nets=(NetRequest(network="xenbr", ipv4="10.6.6.11", mac="00:16:3e:00:00:0b"),),
        disks=(DiskRequest(path="/d", readonly=False), DiskRequest(path="/e", readonly=True)),
    )


def test_paths_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(tmp_path, json.dumps(LEAST | {"kernel": "k"})).image == str(tmp_path / "k")


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"kernel": ""}, "kernel", "restores a guest"),
        ({"vcpus": {"count": 1, "cpumap": ["2"]}}, "vcpus.cpumap[0]", "str"),
        ({"xen": {"pvh": False}}, "xen.pvh", "PV guests"),
        ({"xen": {"dev_method": "none"}}, "xen.dev_method", "none"),
        ({"vbds": [VBD | {"vdev": "hda"}]}, "vbds[0].vdev", "'hda'"),
        ({"vbds": [VBD, VBD]}, "vbds[1].vdev", "'xvda'"),
        ({"vbds": [VBD | {"type": "qcow2"}]}, "vbds[0].type", "qcow2"),
        ({"vbds": [{"target": "/d"}]}, "vbds[0]", "type"),
        ({"vifs": [{"ip": "10.0.0.1"}]}, "vifs[0]", "bridge"),
        ({"memory": 0}, "memory", ">= 1"),
        ({"memory": "8"}, "memory", "Expected `int`"),
        ({"vcpus": True}, "vcpus", "bool"),
        ({"colour": "red"}, None, "colour"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    tmp_path: Path, change: dict[str, object], where: str | None, said: str
) -> None:
    message, place = refused(tmp_path, json.dumps(LEAST | change))
    assert said in message
    assert place == where


@pytest.mark.parametrize("key", LEAST)
def test_what_chaos_needs_must_be_there(tmp_path: Path, key: str) -> None:
    message, _ = refused(tmp_path, json.dumps({k: v for k, v in LEAST.items() if k != key}))
    assert f"`{key}`" in message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "a", "name": "b"}', "[" * 100_000])
def test_what_is_no_such_object_is_refused(tmp_path: Path, text: str) -> None:
    _, place = refused(tmp_path, text)
    assert place is None


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "guest.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadRequest, match="not text"):
        read_source(str(path))


def test_assignments_of_xl_are_none_of_its(tmp_path: Path) -> None:
    path = tmp_path / "guest.json"
    path.write_text(json.dumps(LEAST))
    with pytest.raises(BadRequest, match=r"goes with a \.cfg file"):
        read_source(str(path), ["memory=9"])
