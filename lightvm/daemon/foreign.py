"""Domains of other toolstacks: they are looked at, and left alone."""

from __future__ import annotations

from collections.abc import Iterator

from lightvm.daemon.domains import Registry, dashed
from lightvm.daemon.journal import Journal
from lightvm.daemon.shells import Pools
from lightvm.daemon.xenstore.names import NameKeeper
from lightvm.errors import HypercallError, LightVMError, NoSuchDomain, NotOurs
from lightvm.model import ForeignDomain, State
from lightvm.xen.domain_info import DomainInfo
from lightvm.xen.hypervisor import Hypervisor


class Foreigners:
    """Finds domains of other toolstacks."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        registry: Registry,
        pools: Pools,
        journal: Journal,
        names: NameKeeper,
    ) -> None:
        self._hypervisor = hypervisor
        self._registry = registry
        self._pools = pools
        self._journal = journal
        self._names = names

    async def list(self) -> tuple[ForeignDomain, ...]:
        """Return all of them; one whose name XenStore does not tell has none. Raises `HypercallError`."""
        infos = [info for info in await self._hypervisor.list_domains() if not self._is_ours(info)]
        try:
            names = await self._names.names_of([info.domid for info in infos])
        except OSError:
            names = {}
        return tuple(_describe(infos, names))

    def _is_ours(self, info: DomainInfo) -> bool:
        uuid, past = info.uuid.hex(), self._journal.past
        return (
            uuid in self._registry.live
            or uuid in self._registry.exited
            or uuid in self._pools.uuids
            or self._pools.in_work(uuid)
            or uuid in past.domains
            or uuid in past.shells
        )

    async def why_not_found(self, key: str) -> LightVMError:
        """Return what to answer about a domain that is not known here: it may be another toolstack's."""
        try:
            foreign = await self.list()
        except HypercallError:
            foreign = ()
        if any(domain.is_called(key) for domain in foreign):
            return NotOurs("this domain is another toolstack's", key)
        return NoSuchDomain("no domain has that name, UUID or domid", key)


def _describe(infos: list[DomainInfo], names: dict[int, str]) -> Iterator[ForeignDomain]:
    for info in infos:
        state = State.PAUSED if info.paused else State.RUNNING
        yield ForeignDomain(
            name=names.get(info.domid),
            uuid=dashed(info.uuid.hex()),
            domid=info.domid,
            state=State.EXITED if info.dying or info.shutdown else state,
            memory_kib=info.memory_kib,
            vcpus=info.vcpus,
            foreign=True,
        )
