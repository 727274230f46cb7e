"""Every error that LightVM raises on purpose.

::

    LightVMError
    ├── RequestError                the request itself is at fault; sending it again gives the same answer
    │   ├── BadRequest              bad-request: a field is missing, unknown, of the wrong type or out of range
    │   ├── BadImage                bad-image: the kernel file cannot be loaded; `where` has path and offset
    │   ├── BadDisk                 bad-disk: a disk's file is none, or cannot be opened
    │   ├── BadConfig               bad-config: the daemon's configuration; never travels on the wire
    │   ├── NoSuchDomain            no-such-domain
    │   ├── NotOurs                 not-ours: the domain is another toolstack's
    │   ├── NoSuchFlavor            no-such-flavor
    │   ├── NoSuchNetwork           no-such-network
    │   ├── NoSuchService           no-such-service
    │   ├── NameTaken               name-taken: another domain has that name, or another service
    │   ├── AddressTaken            address-taken: another domain or service has that MAC or IP address
    │   └── NotRemovable            not-removable: a service of the configuration
    ├── StateError                  the world was not in the state the request needs; it may be later
    │   ├── NotPossibleNow          not-possible-now: e.g. pausing a domain that has exited
    │   ├── OutOfMemory             out-of-memory: Xen has no room for the domain
    │   ├── DiskInUse               disk-in-use: another domain or this host uses the disk's file or device
    │   ├── OutOfAddresses          out-of-addresses: the network has no free address
    │   ├── TimedOut                timed-out: what was waited for did not happen; nothing was undone
    │   ├── GuestExited             guest-exited: the guest ended before it was ready
    │   └── StoppingNow             stopping-now: the daemon is on its way down; ask again after its restart
    ├── HostError                   something below LightVM failed
    │   ├── HypercallError          hypercall-failed: also an OSError, with the operation's name in `where`
    │   ├── UnsupportedXen          unsupported-xen: unknown interface version, or no Xen at all
    │   ├── LinkFailed              link-failed: a bridge or a network device could not be set up
    │   ├── DiskFailed              disk-failed: a loop device could not be set up
    │   ├── StoreFailed             store-failed: XenStore did not do what a device needs
    │   ├── XlFailed                xl-failed: xl, to which a domain was handed, could not do it (client side)
    │   ├── JournalFailed           journal-failed: the state file could not be written; nothing was started
    │   └── AlreadyRunning          already-running: another daemon holds the state directory; never on the wire
    ├── ConnectionLost              connection-lost: the daemon went away in the middle of a call (client side)
    ├── NoDaemon                    no-daemon: nobody listens at the socket (client side)
    ├── ProtocolError               protocol-error: the other side does not speak Varlink, or a too long message
    └── InternalError               internal-error: a defect in the daemon; its log has the traceback

`code` is the stable name of an error, in kebab case: on the command line as ``lightvm: code: message``, and on the
wire as the Varlink error ``io.github.lightvm.CamelCase``.
"""

from __future__ import annotations

import re
from typing import ClassVar


class LightVMError(Exception):
    """Base of every error here.

    `message` is one line for a person; `where` says what it is about (a path and offset, a field, a domain), or is
    None where the message says it all.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, where: str | None = None) -> None:
        super().__init__(message, where)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.message} ({self.where})" if self.where else self.message


class RequestError(LightVMError):
    """The request is at fault: change it before sending it again."""


class BadRequest(RequestError):
    """A field of the request is missing, unknown, of the wrong type or out of range; `where` names it."""

    code = "bad-request"


class BadImage(RequestError):
    """A kernel file cannot be loaded; `where` is its path with the offset of the offending bytes."""

    code = "bad-image"


class BadDisk(RequestError):
    """What a disk is to stand for is not there, is neither file nor block device, or has an impossible size."""

    code = "bad-disk"


class BadConfig(RequestError):
    """The daemon's configuration is wrong; `where` is the file with the key or the line."""

    code = "bad-config"


class NoSuchDomain(RequestError):
    """No domain of ours has that name, UUID or domid."""

    code = "no-such-domain"


class NotOurs(RequestError):
    """The domain is another toolstack's, which LightVM does not change."""

    code = "not-ours"


class NoSuchFlavor(RequestError):
    """The configuration has no flavor of that name; ask Flavors for those it has."""

    code = "no-such-flavor"


class NameTaken(RequestError):
    """Another live domain or service has the requested name: take that one away, or ask for another name."""

    code = "name-taken"


class AddressTaken(RequestError):
    """Another domain or service has that MAC or IP address, or it is none for a domain of that network."""

    code = "address-taken"


class NoSuchNetwork(RequestError):
    """The configuration has no network of that name."""

    code = "no-such-network"


class NoSuchService(RequestError):
    """There is no service of that name; ask Services for those there are."""

    code = "no-such-service"


class NotRemovable(RequestError):
    """The service is one of the configuration: take it out there, and start the daemon again."""

    code = "not-removable"


class StateError(LightVMError):
    """The world is not in the state that the request needs."""


class NotPossibleNow(StateError):
    """The domain is in a state in which this cannot be done, such as pausing one that has exited."""

    code = "not-possible-now"


class OutOfMemory(StateError):
    """Xen has no room for the domain: destroy some, or ask for less memory."""

    code = "out-of-memory"


class DiskInUse(StateError):
    """A disk has one writer or any number of readers, and this one has others already; `where` names it."""

    code = "disk-in-use"


class OutOfAddresses(StateError):
    """The network has no free address: destroy some domains, or configure a larger range."""

    code = "out-of-addresses"


class TimedOut(StateError):
    """What was waited for did not happen in time. The domain, if there is one, is left as it is."""

    code = "timed-out"


class GuestExited(StateError):
    """The guest ended before it said that it is ready; its console may say why."""

    code = "guest-exited"


class StoppingNow(StateError):
    """The daemon is stopping: ask again when it is back."""

    code = "stopping-now"


class HostError(LightVMError):
    """Something below LightVM failed."""


class HypercallError(HostError, OSError):
    """Xen or the privcmd driver refused an operation.

    `where` names the operation; as an OSError it has `errno`.
    """

    code = "hypercall-failed"

    def __init__(self, message: str, where: str | None = None, *, errno: int = 0) -> None:
        HostError.__init__(self, message, where)
        self.errno = errno


class UnsupportedXen(HostError):
    """There is no Xen here, or its interface version is not one that this release knows."""

    code = "unsupported-xen"


class LinkFailed(HostError):
    """The host's network devices could not be set up; `where` names the bridge or the device."""

    code = "link-failed"


class DiskFailed(HostError):
    """A loop device could not be set up or removed; `where` names the device or the file."""

    code = "disk-failed"


class StoreFailed(HostError):
    """XenStore could not be read or written while a device was connected or removed, or a cpupool looked up."""

    code = "store-failed"


class XlFailed(HostError):
    """The command ``xl``, to which a domain of another toolstack was handed, could not do what was asked."""

    code = "xl-failed"


class JournalFailed(HostError):
    """The journal could not be written, so nothing was started: look at the space under /run."""

    code = "journal-failed"


class AlreadyRunning(HostError):
    """Another daemon holds the state directory: stop that one first, or configure another directory."""

    code = "already-running"


class ConnectionLost(LightVMError):
    """The daemon closed the connection in the middle of a call: whether it was carried out is not known.

    A create that was sent with a token can safely be sent again.
    """

    code = "connection-lost"


class NoDaemon(LightVMError):
    """Nobody listens at the socket: start lightvmd, or pass the right path."""

    code = "no-daemon"


class ProtocolError(LightVMError):
    """The other side sent what is not Varlink, or a message over the size limit."""

    code = "protocol-error"


class InternalError(LightVMError):
    """A defect in the daemon. Its log has the traceback; please report it."""

    code = "internal-error"


def _concrete(cls: type[LightVMError]) -> list[type[LightVMError]]:
    found = [cls] if "code" in cls.__dict__ and cls is not LightVMError else []
    for child in cls.__subclasses__():
        found += _concrete(child)
    return found


BY_CODE: dict[str, type[LightVMError]] = {cls.code: cls for cls in _concrete(LightVMError)}
"""Every error class by its code."""


def camel_case(code: str) -> str:
    """Return the Varlink name of an error code: ``no-such-domain`` is ``NoSuchDomain``."""
    return "".join(word.capitalize() for word in code.split("-"))


def kebab_case(name: str) -> str:
    """Return the error code of a Varlink name: ``NoSuchDomain`` is ``no-such-domain``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
