"""The configuration: defaults, and every refusal with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightvm.daemon.config import Config, FlavorSection, load_config, parse_config
from lightvm.errors import BadConfig


def refusal(text: str) -> BadConfig:
    """Return the error that a configuration is refused with."""
    with pytest.raises(BadConfig) as caught:
        parse_config(text, "/c.toml")
    return caught.value


def test_an_empty_file_means_the_defaults() -> None:
    config = parse_config("", "/c.toml")
    assert config == Config()
    assert config.daemon.socket == "/run/lightvm/lightvm.sock"
    assert [flavor.name for flavor in config.flavor_list()] == ["tiny"]


def test_every_key_can_be_set() -> None:
    text = """
    [daemon]
    socket = "/s/lightvm.sock"
    socket_group = "g"
    state_dir = "/s"
    drain_seconds = 1
    max_connections = 2
    log_level = "debug"
    log_format = "json"
    [limits]
    image_mib = 1
    image_cache_mib = 2
    console_kib = 3
    keep_exited = 0
    keep_exited_seconds = 4.5
    wait_seconds = 5
    create_seconds = 6
    ready_seconds = 7
    batch = 8
    [pool]
    memory_floor_mib = 0
    retry_seconds = 0.5
    yield_ms = 0
    ready_spin_us = 0
    [scheduling]
    cpus = "1-3"
    [flavors.big]
    memory_kib = 65536
    vcpus = 2
    low = 0
    high = 0
    """
    config = parse_config(text, "/c.toml")
    assert config.daemon.socket == "/s/lightvm.sock"
    assert config.daemon.drain_seconds == 1.0
    assert config.limits.keep_exited == 0
    assert config.limits.batch == 8
    assert config.pool.retry_seconds == 0.5
    assert config.scheduling.cpus == "1-3"
    assert config.flavors == {"big": FlavorSection(memory_kib=65536, vcpus=2, low=0, high=0)}


def test_flavors_are_listed_the_smallest_first() -> None:
    text = "".join(
        f"[flavors.{name}]\nmemory_kib = {memory}\nvcpus = {vcpus}\n"
        for name, memory, vcpus in [("d", 8192, 1), ("c", 4096, 2), ("b", 4096, 1), ("a", 8192, 1)]
    )
    names = [flavor.name for flavor in parse_config(text, "/c.toml").flavor_list()]
    assert names == ["b", "c", "a", "d"]


def test_no_flavors_at_all_are_allowed() -> None:
    assert parse_config("[flavors]\n", "/c.toml").flavor_list() == ()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[daemon]\nsocket = 3", "daemon.socket"),
        ('[daemon]\nsocket = "lightvm.sock"', "daemon.socket"),
        ('[daemon]\nsocket = "/a\\u0000b"', "daemon.socket"),
        ('[daemon]\nstate_dir = ""', "daemon.state_dir"),
        ('[daemon]\nsocket_group = ["a"]', "daemon.socket_group"),
        ("[daemon]\ndrain_seconds = 0", "daemon.drain_seconds"),
        ("[daemon]\ndrain_seconds = nan", "daemon.drain_seconds"),
        ('[daemon]\ndrain_seconds = "5"', "daemon.drain_seconds"),
        ("[daemon]\nmax_connections = 0", "daemon.max_connections"),
        ("[daemon]\nmax_connections = true", "daemon.max_connections"),
        ('[daemon]\nlog_level = "loud"', "daemon.log_level"),
        ('[daemon]\nlog_format = "xml"', "daemon.log_format"),
        ("[limits]\nimage_mib = 0", "limits.image_mib"),
        ("[limits]\nimage_cache_mib = -1", "limits.image_cache_mib"),
        ("[limits]\nconsole_kib = 0", "limits.console_kib"),
        ("[limits]\nkeep_exited = -1", "limits.keep_exited"),
        ("[limits]\nkeep_exited_seconds = 0", "limits.keep_exited_seconds"),
        ("[limits]\nwait_seconds = -0.5", "limits.wait_seconds"),
        ("[limits]\ncreate_seconds = 0.0", "limits.create_seconds"),
        ("[limits]\nready_seconds = []", "limits.ready_seconds"),
        ("[limits]\nbatch = 1.5", "limits.batch"),
        ("[pool]\nmemory_floor_mib = -1", "pool.memory_floor_mib"),
        ("[pool]\nretry_seconds = 0", "pool.retry_seconds"),
        ("[pool]\nyield_ms = -1", "pool.yield_ms"),
        ("[pool]\nready_spin_us = 5001", "pool.ready_spin_us"),
        ('[scheduling]\ncpus = "^0"', "scheduling.cpus"),
        ('[scheduling]\ncpus = "4096"', "scheduling.cpus"),
        ("[flavors.a]\nmemory_kib = 1020", "flavors.a.memory_kib"),
        ("[flavors.a]\nmemory_kib = 4097", "flavors.a.memory_kib"),
        ("[flavors.a]\nvcpus = 0", "flavors.a.vcpus"),
        ("[flavors.a]\nvcpus = 129", "flavors.a.vcpus"),
        ("[flavors.a]\nlow = -1", "flavors.a.low"),
        ("[flavors.a]\nlow = 33", "flavors.a"),
        ("[flavors.good]\n[flavors.a]\nhigh = 7", "flavors.a"),
        ("[flavors.a]\nmemory = 1", "flavors.a"),
        ("flavors = 3", "flavors"),
        ("flavors.a = 3", "flavors.a"),
        ('[flavors."a b"]', 'flavors."a b"'),
        ('[flavors."a\\n"]', 'flavors."a\\n"'),
        ("[flavors.-a]", "flavors.-a"),
        ("daemon = 3", "daemon"),
        ("[daemon]\nsockt = 1", "daemon"),
        ("[limits]\nx = 1", "limits"),
        ("[pool]\nx = 1", "pool"),
    ],
)
def test_a_bad_value_is_refused_with_its_key(text: str, where: str) -> None:
    assert refusal(text).where == f"/c.toml: {where}"


def test_an_unknown_key_is_named() -> None:
    assert "`sockt`" in refusal("[daemon]\nsockt = 1").message


def test_an_unknown_section_is_refused() -> None:
    error = refusal("[demon]\n")
    assert "`demon`" in error.message
    assert error.where == "/c.toml"


@pytest.mark.parametrize("text", ["[daemon", "a = ", "\0", "[a]\n[a]"])
def test_what_is_not_toml_is_refused_with_its_place(text: str) -> None:
    error = refusal(text)
    assert error.message.startswith("not TOML: ")
    assert "line" in error.message or "document" in error.message


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[limits]\nbatch = 7\n")
    assert load_config(path).limits.batch == 7


def test_a_missing_default_file_means_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightvm.daemon.config.DEFAULT_PATH", tmp_path / "none.toml")
    assert load_config(None) == Config()


def test_the_default_file_is_read_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.toml"
    path.write_text("x")
    monkeypatch.setattr("lightvm.daemon.config.DEFAULT_PATH", path)
    with pytest.raises(BadConfig) as caught:
        load_config(None)
    assert caught.value.where == str(path)


def test_a_missing_named_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        load_config(tmp_path / "none.toml")
    assert caught.value.message == "no such file"
    assert caught.value.where == str(tmp_path / "none.toml")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be read"):
        load_config(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig, match="cannot be read"):
        load_config(path)


@pytest.mark.parametrize("key", ["nat", "antispoof"])
def test_what_needs_addresses_needs_an_address(key: str) -> None:
    error = refusal(f"[networks.n]\n{key} = true")
    assert "need an `address`" in error.message
    assert str(error.where).endswith("networks.n")
    parse_config(f'[networks.n]\naddress = "10.0.0.1/24"\n{key} = true', "x")


# Services

SERVED = """
[networks.lan]
address = "10.77.0.1/24"
[networks.bare]
[flavors.net]
networks = ["lan"]
[flavors.other]
[services.web]
image = "/k"
network = "lan"
addresses = ["10.77.0.16/28", "10.77.0.40"]
flavor = "net"
"""


def test_a_service_that_is_right_is_taken() -> None:
    assert parse_config(SERVED, "here").services["web"].most == 1000


def test_a_service_without_addresses_is_off_and_needs_nothing() -> None:
    assert parse_config("[services.web]", "here").services["web"].addresses == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('image = "/k"', ""),
        ('image = "/k"', 'image = "k"'),
        ('network = "lan"\naddresses', 'network = "wan"\naddresses'),
        ('network = "lan"\naddresses', 'network = "bare"\naddresses'),
        ("10.77.0.40", "10.78.0.40"),
        ('flavor = "net"', 'flavor = "other"'),
        ('flavor = "net"', 'flavor = "none"'),
        ('flavor = "net"', "most = 0"),
        ('flavor = "net"', "idle_seconds = 0"),
        ('flavor = "net"', f'metadata = "{"x" * 4097}"'),
        ("[services.web]", f"[services.{'x' * 41}]"),
    ],
)
def test_a_service_that_is_wrong_is_refused(before: str, after: str) -> None:
    assert before in SERVED
    with pytest.raises(BadConfig, match="services"):
        parse_config(SERVED.replace(before, after), "here")


def test_no_two_services_have_the_same_address() -> None:
    text = SERVED + '[services.two]\nimage = "/k"\nnetwork = "lan"\naddresses = ["10.77.0.31"]'
    with pytest.raises(BadConfig, match=r"another service .*services\.two"):
        parse_config(text, "here")
    assert parse_config(text.replace("31", "32"), "here")
