"""Documentation and packaging against the code: what they say is what there is."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lightvm import calls, endpoint, errors, wire
from lightvm.daemon import config
from tests.layouts import layout

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "packaging/lightvm.toml").read_text()
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "native/*.md", "native/client/*.md")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "daemon": config.Daemon,
    "limits": config.Limits,
    "pool": config.PoolLimits,
    "scheduling": config.SchedulingSection,
    "flavors": config.FlavorSection,
    "networks": config.NetworkSection,
    "services": config.ServiceSection,
}
METHODS = [name for name in calls.METHODS if name.startswith(f"{calls.INTERFACE}.")]


def uncommented(text: str) -> str:
    """Return the example with its keys in force: they follow their "#" without a blank."""
    return re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)


def defaults() -> dict[str, object]:
    """Return the default of every key, by section and name."""
    return {
        f"{section}.{field.name}": list(d) if isinstance(d := field.default, tuple) else d
        for section, struct in SECTIONS.items()
        for field in msgspec.structs.fields(struct)
    }


# The example configuration and its manual


@pytest.mark.parametrize("text", [EXAMPLE, uncommented(EXAMPLE)], ids=["as it is", "uncommented"])
def test_example_configuration_is_the_defaults(text: str) -> None:
    parsed = config.parse_config(text, "lightvm.toml")
    assert all(network == config.NetworkSection() for network in parsed.networks.values())
    assert all(service == config.ServiceSection() for service in parsed.services.values())
    assert msgspec.structs.replace(parsed, networks={}, services={}) == config.Config()


def test_example_configuration_has_every_key() -> None:
    raw = tomllib.loads(uncommented(EXAMPLE))
    raw["flavors"] = raw["flavors"]["tiny"]
    raw["networks"] = raw["networks"]["default"]
    raw["services"] = raw["services"]["web"]
    keys = {f"{section}.{key}" for section, values in raw.items() for key in values}
    assert keys == set(defaults())


def documented_keys() -> Iterator[tuple[str, object]]:
    """Yield the keys of the manual page with the default that it names."""
    section = ""
    for line in (ROOT / "man/lightvm.toml.5").read_text().splitlines():
        if found := re.fullmatch(r'\.SH "\[(\w+)(\.NAME)?\]"', line):
            section = found[1]
        elif found := re.fullmatch(r'\.BR (\w+) " = (.*)"', line):
            value = tomllib.loads("x = " + found[2].replace(r"\(dq", '"'))["x"]
            yield f"{section}.{found[1]}", value


def test_manual_has_every_key_with_its_default() -> None:
    assert dict(documented_keys()) == defaults()


# The units


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as the library documents it
    parser.read_string((ROOT / "packaging/systemd" / name).read_text())
    return parser


def test_units_agree_with_the_defaults() -> None:
    daemon = config.Daemon()
    sock = unit("lightvmd.socket")["Socket"]
    assert sock["ListenStream"] == daemon.socket == endpoint.DEFAULT_SOCKET
    assert sock["SocketGroup"] == daemon.socket_group == endpoint.DEFAULT_GROUP
    assert sock["SocketMode"] == "0660"
    service = unit("lightvmd.service")["Service"]
    assert f"/run/{service['RuntimeDirectory']}" == daemon.state_dir


def test_service_keeps_its_journal_and_its_guests() -> None:
    service = unit("lightvmd.service")["Service"]
    assert service["RuntimeDirectoryPreserve"] == "yes"
    assert service["KillMode"] == "process"
    assert service["Type"] == "notify"


def test_group_and_directory_are_made() -> None:
    daemon = config.Daemon()
    sysusers = (ROOT / "packaging/sysusers.d/lightvm.conf").read_text()
    assert f"\ng {daemon.socket_group} -\n" in sysusers
    tmpfiles = (ROOT / "packaging/tmpfiles.d/lightvm.conf").read_text()
    assert f"\nd {daemon.state_dir} 0755 root root -\n" in tmpfiles


# Errors and methods


def test_every_error_is_documented() -> None:
    text = (ROOT / "docs/errors.md").read_text()
    codes = set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE))
    of_the_command = {"usage", "os-error", "console-lost"}
    assert codes - of_the_command == set(errors.BY_CODE)


def test_every_method_is_documented() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    headings = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert headings == {name.rpartition(".")[2] for name in METHODS}
    for name in calls.METHODS.keys() - set(METHODS):
        assert f"`{name}`" in text


def protocol_examples() -> list[tuple[str, str]]:
    """Return each JSON example of the protocol page with the method that it belongs to."""
    text = (ROOT / "docs/protocol.md").read_text()
    examples, method = [], ""
    for block in re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        method = json.loads(block).get("method", method)
        examples.append((method, block))
    return examples


@pytest.mark.parametrize(("method", "text"), protocol_examples())
def test_example_is_a_call_or_a_reply(method: str, text: str) -> None:
    message = text.encode()
    if "method" in json.loads(text):
        wire.decode_parameters(wire.decode_call(message))
    elif "error" in json.loads(text):
        with pytest.raises(errors.NoSuchDomain):
            wire.decode_reply(calls.METHODS[method], message)
    else:
        wire.decode_reply(calls.METHODS[method], message)


def test_every_method_has_an_example() -> None:
    assert {method for method, _ in protocol_examples()} >= set(METHODS)


# The contract with guests


@pytest.mark.parametrize(
    "name",
    [
        "lvm_device_page",
        "lvm_device_entry",
        "lvm_vif_entry",
        "lvm_vif_config",
        "lvm_vbd_entry",
        "lvm_vbd_config",
        "lvm_control_page",
        "lvm_console_ring",
    ],
)
def test_documented_layout_is_the_one_of_the_header(name: str) -> None:
    text = (ROOT / "docs/device-page.md").read_text()
    table = text.partition(f"`struct {name}`")[2].partition("| offset |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", table, re.MULTILINE)
    assert {field: (int(at), int(size)) for at, size, field in rows} == layout(name)


# Links


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as web views of the tree make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def local_links(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead into the tree."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in local_links(page):
        path, _, anchor = target.partition("#")
        goal = page.parent / path if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)
    assert broken == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/decisions"
    pages = {path.name for path in folder.glob("0*.md")}
    assert set(local_links(folder / "README.md")) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_examples_compile(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec")
