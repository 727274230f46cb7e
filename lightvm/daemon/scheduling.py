"""Where and how much a domain's vCPUs may run, as a request says it and as Xen wants it."""

from __future__ import annotations

import re

from lightvm.daemon.xenstore.store import Store
from lightvm.errors import BadConfig, BadRequest, StoreFailed
from lightvm.model import CreateRequest
from lightvm.xen.hypervisor import Hypervisor, Scheduling

MAX_WEIGHT = 65535
MAX_CAP = 65534
MAX_CPU = 4095
POOL_OF_DOM0 = "Pool-0"

_RANGE = re.compile(r"(\^?)([0-9]{1,4})(?:-([0-9]{1,4}))?")


def check_scheduling(request: CreateRequest) -> None:
    """Check what of it can be wrong by itself; raises `BadRequest`."""
    for index, text in enumerate(request.cpus or ()):
        parse_cpus(text, MAX_CPU + 1, f"request.cpus[{index}]")
    if request.cpu_weight is not None and not 1 <= request.cpu_weight <= MAX_WEIGHT:
        raise BadRequest(f"1 to {MAX_WEIGHT}", "request.cpu_weight")
    if request.cpu_cap is not None and not 0 <= request.cpu_cap <= MAX_CAP:
        raise BadRequest(f"0 to {MAX_CAP} percent of a processor", "request.cpu_cap")


def plan_scheduling(request: CreateRequest, vcpus: int, hypervisor: Hypervisor) -> Scheduling:
    """Return what Xen is to be told of a domain with so many vCPUs; raises `BadRequest`.

    One entry of `cpus` is for all vCPUs; of more, each is for one, and vCPUs without one run where the configuration
    lets them.
    """
    cpus = hypervisor.host().cpus
    masks = [
        parse_cpus(text, cpus, f"request.cpus[{index}]")
        for index, text in enumerate(request.cpus or ())
    ]
    if len(masks) > vcpus:
        raise BadRequest(f"the guest has {vcpus} vCPUs", f"request.cpus[{vcpus}]")
    if len(masks) == 1:
        masks *= vcpus
    return Scheduling(masks=tuple(masks) or None, weight=request.cpu_weight, cap=request.cpu_cap)


def plan_default(text: str, hypervisor: Hypervisor) -> int | None:
    """Return a mask of the processors for domains that ask for none; None where these are all. Raises `BadConfig`."""
    cpus = hypervisor.host().cpus
    try:
        mask = parse_cpus(text, cpus, "scheduling.cpus")
    except BadRequest as exc:
        raise BadConfig(exc.message, exc.where) from exc
    return None if mask == (1 << cpus) - 1 else mask


def find_cpupool(name: str, store: Store) -> int:
    """Return the number of the cpupool of that name, which xl has written into XenStore. Blocks.

    Raises `BadConfig` where there is none, and `StoreFailed`; for dom0's own nothing is asked.
    """
    if name == POOL_OF_DOM0:
        return 0
    try:
        for number in store.children("/local/pool"):
            if store.read(f"/local/pool/{number}/name") == name:
                return int(number)
    except OSError as exc:
        raise StoreFailed(str(exc), "scheduling.cpupool") from exc
    raise BadConfig(f"there is no cpupool {name!r}", "scheduling.cpupool")


def parse_cpus(text: str, cpus: int, where: str) -> int:
    """Return a mask of processors: ``all``, or numbers and ranges with commas; ``^`` takes out what came before.

    As in xl.cfg's `cpus`. Raises `BadRequest`.
    """
    mask = 0
    for part in text.replace(" ", "").split(","):
        if part == "all":
            mask |= (1 << cpus) - 1
            continue
        found = _RANGE.fullmatch(part)
        if found is None:
            raise BadRequest(f"{part[:40]!r} is no processor, range of such, or 'all'", where)
        first, last = int(found[2]), int(found[3] or found[2])
        if not first <= last < cpus:
            raise BadRequest(f"{part!r}: this host has processors 0 to {cpus - 1}", where)
        span = (1 << (last + 1)) - (1 << first)
        mask = mask & ~span if found[1] else mask | span
    if not mask:
        raise BadRequest("no processor is left", where)
    return mask
