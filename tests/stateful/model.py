"""What a caller may expect of the daemon, without a daemon."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightvm.model import ExitReason, State


@dataclass
class ModelDomain:
    """One domain as a caller knows it."""

    uuid: str
    domid: int
    name: str
    token: str | None
    paused: bool
    ready: bool = False
    exit: tuple[ExitReason, int | None] | None = None
    console: bytes = b""
    restarted: bool = False
    disk: int | None = None
    """Which disk it has, and which address with it."""

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.exit is None

    @property
    def state(self) -> State:
        """What a listing says."""
        if self.exit is not None:
            return State.EXITED
        if self.paused:
            return State.PAUSED
        return State.READY if self.ready else State.RUNNING


@dataclass
class Model:
    """All domains that there should be, by UUID, and those that are not ours."""

    domains: dict[str, ModelDomain] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    stuck: set[int] = field(default_factory=set)
    """Disks that a domain may still have though it is gone: there was no XenStore then."""

    def live(self) -> list[ModelDomain]:
        """Return those that have not ended."""
        return [domain for domain in self.domains.values() if domain.live]

    def named(self, name: str) -> ModelDomain | None:
        """Return the live domain of that name."""
        return next((domain for domain in self.live() if domain.name == name), None)

    def has_disk(self, disk: int) -> bool:
        """Whether a live domain has that disk."""
        return any(domain.disk == disk for domain in self.live())

    def by_token(self, token: str | None) -> ModelDomain | None:
        """Return the domain that was made with that token."""
        if token is None:
            return None
        return next((d for d in self.domains.values() if d.token == token), None)
