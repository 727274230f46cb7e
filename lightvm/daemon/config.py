"""The configuration of `lightvmd`: TOML, every key with a default, unknown keys refused.

``lightvm.toml(5)`` documents the keys; ``lightvmd --check-config`` checks a file. All values are checked here, so
that the rest of the daemon can trust them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import asdict

from lightvm.daemon.jit.bpf import MOST_RANGES
from lightvm.daemon.net.addresses import parse_ranges
from lightvm.daemon.net.filters import ServiceRange
from lightvm.daemon.scheduling import MAX_CPU, POOL_OF_DOM0, parse_cpus
from lightvm.errors import (
    AddressTaken,
    BadConfig,
    BadRequest,
    NoSuchFlavor,
    NoSuchNetwork,
    RequestError,
)
from lightvm.model import Flavor, Mode, ServiceRequest
from lightvm.xen.device_page import METADATA_MAX, VBDS_MAX, VIFS_MAX
from lightvm.xen.image import CMDLINE_MAX

T = TypeVar("T")

DEFAULT_PATH = Path("/etc/lightvm/lightvm.toml")

Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\0]*\Z")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
ServiceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}\Z")]
"""Shorter than others, since its domains' names have their addresses behind it."""
BridgeName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}\Z")]
MemoryKib = Annotated[int, Meta(ge=1024, le=1 << 34, multiple_of=4)]
Vcpus = Annotated[int, Meta(ge=1, le=128)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections: immutable, unknown keys refused."""


class Daemon(_Section, frozen=True, kw_only=True):
    """``[daemon]``: the process itself."""

    socket: AbsolutePath = "/run/lightvm/lightvm.sock"
    socket_group: str = "lightvm"
    state_dir: AbsolutePath = "/run/lightvm"
    drain_seconds: Seconds = 5.0
    max_connections: Positive = 512
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"


class Limits(_Section, frozen=True, kw_only=True):
    """``[limits]``: no resource without a bound, no wait without an end."""

    image_mib: Positive = 512
    image_cache_mib: Positive = 256
    console_kib: Positive = 64
    keep_exited: NotNegative = 1000
    keep_exited_seconds: Seconds = 3600.0
    wait_seconds: Seconds = 3600.0
    create_seconds: Seconds = 60.0
    ready_seconds: Seconds = 30.0
    batch: Positive = 10_000


class PoolLimits(_Section, frozen=True, kw_only=True):
    """``[pool]``: what holds for all pools."""

    memory_floor_mib: NotNegative = 128
    retry_seconds: Seconds = 5.0
    yield_ms: NotNegative = 20
    ready_spin_us: Annotated[int, Meta(ge=0, le=5000)] = 1000


class SchedulingSection(_Section, frozen=True, kw_only=True):
    """``[scheduling]``: where domains run that do not ask for anything else."""

    cpus: str = "all"
    cpupool: Annotated[str, Meta(min_length=1)] = POOL_OF_DOM0


class FlavorSection(_Section, frozen=True, kw_only=True):
    """``[flavors.NAME]``: a shape of domain, and how many shells of it are kept ready."""

    memory_kib: MemoryKib = 4096
    vcpus: Vcpus = 1
    low: NotNegative = 8
    high: NotNegative = 32
    networks: Annotated[tuple[Name, ...], Meta(max_length=VIFS_MAX)] = ()
    disks: Annotated[int, Meta(ge=0, le=VBDS_MAX)] = 0
    mode: Mode = Mode.NOXS


class NetworkSection(_Section, frozen=True, kw_only=True):
    """``[networks.NAME]``: a bridge, and the addresses of the domains in it."""

    bridge: BridgeName = "xenbr0"
    address: str = ""
    gateway: str = ""
    ranges: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    mtu: Annotated[int, Meta(ge=576, le=65535)] = 1500
    nat: bool = False
    antispoof: bool = False


class ServiceSection(_Section, frozen=True, kw_only=True):
    """``[services.NAME]``: addresses whose domains are made when the first packet for them arrives."""

    image: Annotated[str, Meta(pattern=r"^(/[^\0]*)?\Z")] = ""
    network: str = ""
    addresses: tuple[str, ...] = ()
    flavor: str = ""
    cmdline: Annotated[str, Meta(pattern=r"^[^\0]*\Z")] = ""
    metadata: str = ""
    idle_seconds: Seconds = 60.0
    most: Positive = 1000


class Config(_Section, frozen=True, kw_only=True):
    """The whole file."""

    daemon: Daemon = Daemon()
    limits: Limits = Limits()
    pool: PoolLimits = PoolLimits()
    scheduling: SchedulingSection = SchedulingSection()
    networks: dict[Name, NetworkSection] = {}
    services: dict[ServiceName, ServiceSection] = {}
    flavors: dict[Name, FlavorSection] = msgspec.field(
        default_factory=lambda: {"tiny": FlavorSection()}
    )

    def flavor_list(self) -> tuple[Flavor, ...]:
        """Return the flavors, the smallest first."""
        flavors = (
            Flavor(
                name=name,
                memory_kib=f.memory_kib,
                vcpus=f.vcpus,
                low=f.low,
                high=f.high,
                networks=f.networks,
                disks=f.disks,
                mode=f.mode,
            )
            for name, f in self.flavors.items()
        )
        return tuple(
            sorted(flavors, key=lambda f: (f.memory_kib, f.vcpus, len(f.networks), f.disks, f.name))
        )


def parse_config(text: str, where: str) -> Config:
    """Return the configuration in a TOML text; raises `BadConfig` with `where`, line or key."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise BadConfig(f"not TOML: {exc}", where) from exc
    flavors = raw.get("flavors")
    if isinstance(flavors, dict):  # one by one, so that an error can say which
        for name, flavor in flavors.items():
            key = f"flavors.{_quoted(name)}"
            _convert(name, Name, where, key)
            _convert(flavor, FlavorSection, where, key)
    config = _convert(raw, Config, where)
    try:
        parse_cpus(config.scheduling.cpus, MAX_CPU + 1, f"{where}: scheduling.cpus")
    except BadRequest as exc:
        raise BadConfig(exc.message, exc.where) from exc
    for name, flavor in config.flavors.items():
        if flavor.low > flavor.high:
            raise BadConfig("`low` is above `high`", f"{where}: flavors.{name}")
        for network in flavor.networks:
            if network not in config.networks:
                raise BadConfig(f"there is no network {network}", f"{where}: flavors.{name}")
    for name, section in config.networks.items():
        _check_network(section, f"{where}: networks.{name}")
    kept: list[ServiceRange] = []
    for name, service in config.services.items():
        if service.addresses:
            try:
                kept += check_service(service, config, kept, f"{where}: services.{name}")
            except RequestError as exc:
                raise BadConfig(exc.message, exc.where) from exc
    return config


def _check_network(section: NetworkSection, where: str) -> None:
    try:
        address = IPv4Interface(section.address) if section.address else None
        gateway = IPv4Address(section.gateway) if section.gateway else None
        for dns in section.dns:
            IPv4Address(dns)
    except ValueError as exc:
        raise BadConfig(f"not an IPv4 address: {exc}", where) from exc
    if address is None:
        if section.ranges or gateway:
            raise BadConfig("`ranges` and `gateway` need an `address`", where)
        if section.nat or section.antispoof:
            raise BadConfig("`nat` and `antispoof` need an `address`", where)
        return
    if gateway is not None and gateway not in address.network:
        raise BadConfig(f"the gateway does not lie in {address.network}", where)
    parse_ranges(section.ranges, address.network, where)


def check_service(
    section: ServiceSection, config: Config, others: Iterable[ServiceRange], where: str
) -> list[ServiceRange]:
    """Check a service, and return its addresses; `others` are those of the other services.

    Raises `NoSuchNetwork`, `NoSuchFlavor`, `AddressTaken` and `BadRequest`, with the key below `where`.
    """
    network = config.networks.get(section.network)
    if network is None:
        raise NoSuchNetwork("the configuration has no such network", f"{where}.network")
    if not network.address:
        raise BadRequest("a service's network needs an `address`", f"{where}.network")
    if not section.image:
        raise BadRequest("a service needs an image", f"{where}.image")
    if len(section.cmdline.encode()) > CMDLINE_MAX:
        raise BadRequest(f"at most {CMDLINE_MAX} bytes", f"{where}.cmdline")
    if len(section.metadata.encode()) > METADATA_MAX:
        raise BadRequest(f"at most {METADATA_MAX} bytes", f"{where}.metadata")
    if section.flavor:
        flavor = config.flavors.get(section.flavor)
        if flavor is None:
            raise NoSuchFlavor("the configuration has no such flavor", f"{where}.flavor")
        if flavor.networks != (section.network,) or flavor.disks:
            raise BadRequest(f"has not just a vif in {section.network}", f"{where}.flavor")
    where = f"{where}.addresses"
    try:
        ranges = parse_ranges(section.addresses, IPv4Interface(network.address).network, where)
    except BadConfig as exc:
        raise BadRequest(exc.message, exc.where) from exc
    if not 0 < len(ranges) <= MOST_RANGES:
        raise BadRequest(f"1 to {MOST_RANGES} ranges of addresses", where)
    for other in others:
        if other.bridge == network.bridge and any(
            mine.start < other.part.stop and other.part.start < mine.stop for mine in ranges
        ):
            raise AddressTaken("another service has some of these addresses", where)
    return [ServiceRange(network.bridge, mine) for mine in ranges]


def read_service(service: ServiceRequest) -> ServiceSection:
    """Return a service that was asked for as the configuration would have it.

    Raises `BadRequest` where it could not stand there, such as for a name that is none.
    """
    given = {key: value for key, value in asdict(service).items() if value is not None}
    convert(given.pop("name"), ServiceName, "service.name")
    return convert(given, ServiceSection, "service")


def load_config(path: Path | None) -> Config:
    """Read the configuration.

    Without a path the default file is read, and its absence means defaults. Raises `BadConfig`.
    """
    try:
        text = (path or DEFAULT_PATH).read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        if path is None:
            return Config()
        raise BadConfig("no such file", str(path)) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise BadConfig(f"cannot be read: {exc}", str(path or DEFAULT_PATH)) from exc
    return parse_config(text, str(path or DEFAULT_PATH))


def convert(value: object, kind: type[T], key: str = "") -> T:
    """Return a value as a type; raises `BadRequest` with the key in `where`, below that of the value itself."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        message, _, path = str(exc).partition(" - at ")
        inner = re.sub(r"^\$\.?", "", path.strip("`"))
        full = ".".join(part for part in (key, inner) if part)
        raise BadRequest(message, full or None) from exc


def _convert(value: object, kind: type[T], where: str, key: str = "") -> T:
    try:
        return convert(value, kind, key)
    except BadRequest as exc:
        raise BadConfig(exc.message, f"{where}: {exc.where}" if exc.where else where) from exc


def _quoted(name: str) -> str:
    """Return a name as TOML has it in a key."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
