"""The methods of ``io.github.lightvm``: parameters and replies of each, as types, in one table."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from lightvm.model import (
    ConsoleChunk,
    Created,
    CreateRequest,
    CreateResult,
    Domain,
    Event,
    Finding,
    Flavor,
    ForeignDomain,
    Pool,
    Power,
    ServiceRequest,
    ServiceStatus,
    Version,
    WaitFor,
    _Asked,
    _Value,
)

INTERFACE = "io.github.lightvm"
SERVICE = "org.varlink.service"


class Nothing(_Asked, frozen=True, kw_only=True):
    """No parameters."""


class CreateCall(_Asked, frozen=True, kw_only=True):
    """Parameters of Create."""

    request: CreateRequest


class CreateReply(_Value, frozen=True, kw_only=True):
    """Reply of Create."""

    created: Created


class CreateManyCall(_Asked, frozen=True, kw_only=True):
    """Parameters of CreateMany."""

    requests: tuple[CreateRequest, ...]


class CreateManyReply(_Value, frozen=True, kw_only=True):
    """Reply of CreateMany: all results, or with `more` those made since the reply before."""

    results: tuple[CreateResult, ...]


class DestroyCall(_Asked, frozen=True, kw_only=True):
    """Parameters of Destroy."""

    domain: str
    missing_ok: bool | None = None
    wait: bool | None = None


class DestroyReply(_Value, frozen=True, kw_only=True):
    """Reply of Destroy: the domain as it was last, or None where there was none."""

    domain: Domain | None = None


class ListCall(_Asked, frozen=True, kw_only=True):
    """Parameters of List."""

    all: bool | None = None


class ListReply(_Value, frozen=True, kw_only=True):
    """Reply of List."""

    domains: tuple[Domain, ...]


class ForeignReply(_Value, frozen=True, kw_only=True):
    """Reply of Foreign."""

    domains: tuple[ForeignDomain, ...]


class DomainCall(_Asked, frozen=True, kw_only=True):
    """Parameters of Info, Pause and Unpause: a name, a UUID or a domid in decimal."""

    domain: str


class DomainReply(_Value, frozen=True, kw_only=True):
    """Reply of Info, Pause, Unpause and Wait."""

    domain: Domain


class ConsoleCall(_Asked, frozen=True, kw_only=True):
    """Parameters of Console."""

    domain: str
    offset: int | None = None
    follow: bool | None = None
    attach: bool | None = None


class ConsoleWriteCall(_Asked, frozen=True, kw_only=True):
    """Parameters of ConsoleWrite; `writer` is the word of an attached console."""

    domain: str
    data: bytes
    writer: str | None = None


class ConsoleWriteReply(_Value, frozen=True, kw_only=True):
    """Reply of ConsoleWrite: nothing."""


class StopCall(_Asked, frozen=True, kw_only=True):
    """Parameters of Stop."""

    domain: str
    power: Power | None = None
    timeout_ms: int | None = None
    force: bool | None = None


class RestartCall(_Asked, frozen=True, kw_only=True):
    """Parameters of Restart."""

    domain: str
    timeout_ms: int | None = None
    force: bool | None = None


class WaitCall(_Asked, frozen=True, kw_only=True):
    """Parameters of Wait."""

    domain: str
    until: WaitFor
    timeout_ms: int | None = None


class WatchReply(_Value, frozen=True, kw_only=True):
    """Reply of Watch; the first has no event and says that the watch is in place."""

    event: Event | None = None


class FlavorsReply(_Value, frozen=True, kw_only=True):
    """Reply of Flavors."""

    flavors: tuple[Flavor, ...]


class PoolStatusReply(_Value, frozen=True, kw_only=True):
    """Reply of PoolStatus."""

    pools: tuple[Pool, ...]


class ServicesReply(_Value, frozen=True, kw_only=True):
    """Reply of Services."""

    services: tuple[ServiceStatus, ...]


class AddServiceCall(_Asked, frozen=True, kw_only=True):
    """Parameters of AddService."""

    service: ServiceRequest


class AddServiceReply(_Value, frozen=True, kw_only=True):
    """Reply of AddService: nothing."""


class RemoveServiceCall(_Asked, frozen=True, kw_only=True):
    """Parameters of RemoveService."""

    name: str


class RemoveServiceReply(_Value, frozen=True, kw_only=True):
    """Reply of RemoveService: nothing."""


class DoctorReply(_Value, frozen=True, kw_only=True):
    """Reply of Doctor."""

    findings: tuple[Finding, ...]


class GetInfoReply(_Value, frozen=True, kw_only=True):
    """Reply of org.varlink.service.GetInfo."""

    vendor: str
    product: str
    version: str
    url: str
    interfaces: tuple[str, ...]


class GetInterfaceDescriptionCall(_Asked, frozen=True, kw_only=True):
    """Parameters of org.varlink.service.GetInterfaceDescription."""

    interface: str


class GetInterfaceDescriptionReply(_Value, frozen=True, kw_only=True):
    """Reply of org.varlink.service.GetInterfaceDescription."""

    description: str


P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


class Method(NamedTuple, Generic[P, R]):
    """One method: its full Varlink name, the types of its parameters and of its reply."""

    name: str
    parameters: type[P]
    reply: type[R]


CREATE = Method(f"{INTERFACE}.Create", CreateCall, CreateReply)
CREATE_MANY = Method(f"{INTERFACE}.CreateMany", CreateManyCall, CreateManyReply)
DESTROY = Method(f"{INTERFACE}.Destroy", DestroyCall, DestroyReply)
LIST = Method(f"{INTERFACE}.List", ListCall, ListReply)
FOREIGN = Method(f"{INTERFACE}.Foreign", Nothing, ForeignReply)
INFO = Method(f"{INTERFACE}.Info", DomainCall, DomainReply)
PAUSE = Method(f"{INTERFACE}.Pause", DomainCall, DomainReply)
UNPAUSE = Method(f"{INTERFACE}.Unpause", DomainCall, DomainReply)
CONSOLE = Method(f"{INTERFACE}.Console", ConsoleCall, ConsoleChunk)
CONSOLE_WRITE = Method(f"{INTERFACE}.ConsoleWrite", ConsoleWriteCall, ConsoleWriteReply)
STOP = Method(f"{INTERFACE}.Stop", StopCall, DomainReply)
RESTART = Method(f"{INTERFACE}.Restart", RestartCall, CreateReply)
WAIT = Method(f"{INTERFACE}.Wait", WaitCall, DomainReply)
WATCH = Method(f"{INTERFACE}.Watch", Nothing, WatchReply)
FLAVORS = Method(f"{INTERFACE}.Flavors", Nothing, FlavorsReply)
POOL_STATUS = Method(f"{INTERFACE}.PoolStatus", Nothing, PoolStatusReply)
SERVICES = Method(f"{INTERFACE}.Services", Nothing, ServicesReply)
ADD_SERVICE = Method(f"{INTERFACE}.AddService", AddServiceCall, AddServiceReply)
REMOVE_SERVICE = Method(f"{INTERFACE}.RemoveService", RemoveServiceCall, RemoveServiceReply)
DOCTOR = Method(f"{INTERFACE}.Doctor", Nothing, DoctorReply)
VERSION = Method(f"{INTERFACE}.Version", Nothing, Version)
GET_INFO = Method(f"{SERVICE}.GetInfo", Nothing, GetInfoReply)
GET_INTERFACE_DESCRIPTION = Method(
    f"{SERVICE}.GetInterfaceDescription", GetInterfaceDescriptionCall, GetInterfaceDescriptionReply
)

METHODS: dict[str, Method[Any, Any]] = {
    method.name: method for method in list(globals().values()) if isinstance(method, Method)
}
"""Every method by its full Varlink name."""
