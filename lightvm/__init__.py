"""LightVM for Python: virtual machines as cheap as processes, on a stock Xen host.

Two clients speak to the daemon: `open_client` for trio, `lightvm.blocking.Client` for everything
else. Nothing is imported before it is used, so that ``import lightvm`` costs next to nothing and
needs neither trio nor Xen.
"""

TYPE_CHECKING = False  # type checkers take this name for true; the import from typing costs time
if TYPE_CHECKING:
    from lightvm import blocking, client, errors, model
    from lightvm.client import Client, open_client
    from lightvm.endpoint import DEFAULT_SOCKET
    from lightvm.errors import LightVMError
    from lightvm.model import (
        ConsoleChunk,
        Created,
        CreateRequest,
        CreateResult,
        Domain,
        Event,
        EventKind,
        Exit,
        ExitReason,
        Finding,
        Flavor,
        Pool,
        ServiceRequest,
        ServiceStatus,
        Source,
        State,
        Verdict,
        Version,
        WaitFor,
    )

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_SOCKET",
    "Client",
    "ConsoleChunk",
    "CreateRequest",
    "CreateResult",
    "Created",
    "Domain",
    "Event",
    "EventKind",
    "Exit",
    "ExitReason",
    "Finding",
    "Flavor",
    "LightVMError",
    "Pool",
    "ServiceRequest",
    "ServiceStatus",
    "Source",
    "State",
    "Verdict",
    "Version",
    "WaitFor",
    "__version__",
    "blocking",
    "client",
    "errors",
    "model",
    "open_client",
]

_MODULES = ("blocking", "client", "errors", "model")
_ELSEWHERE = {
    "Client": "client",
    "open_client": "client",
    "DEFAULT_SOCKET": "endpoint",
    "LightVMError": "errors",
}


if not TYPE_CHECKING:  # a type checker would believe in any name

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for (PEP 562)."""
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"lightvm.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'lightvm' has no attribute {name!r}")
        value: object = getattr(import_module(f"lightvm.{_ELSEWHERE.get(name, 'model')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
