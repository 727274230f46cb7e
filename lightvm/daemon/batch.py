"""Many creates in one call: some of them begin before the first of these is waited for."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from lightvm import calls, wire
from lightvm.daemon.caller import Caller
from lightvm.daemon.creator import Begun, Creator
from lightvm.daemon.express import Express
from lightvm.errors import ConnectionLost, LightVMError
from lightvm.model import Created, CreateRequest, CreateResult, Failure, Source

TOGETHER = 16
"""So many guests start before the first of them is waited for, and before others have their turn."""

READY_TOGETHER = 128
"""The same of those that there are tickets for, which take less of it."""


async def create_all(
    creator: Creator, express: Express, requests: Sequence[CreateRequest], caller: Caller
) -> tuple[CreateResult, ...] | None:
    """Create all; a failure does not stop the others.

    Returns the results, or the last of them where the caller is sent each as it comes, or None where he has been told
    of all. Raises `ConnectionLost` where nobody waits for them any more.
    """
    results: list[CreateResult] = []
    first = 0
    while first < len(requests):
        together = requests[first : first + READY_TOGETHER]
        all_at_once = len(together) == len(requests) and caller.send is None
        tell = caller.tell_reply if all_at_once else None
        begun: Sequence[Begun | Created | Failure] = express.create_together(
            together, wire.join_created, tell
        )
        if caller.unsent is not None:
            return None
        if not begun:
            begun = [await _begin(creator, each, caller) for each in together[:TOGETHER]]
        for index, one in enumerate(begun, first):
            result = await _complete(creator, index, one, caller)
            if caller.send is not None and index < len(requests) - 1:
                await caller.send(calls.CreateManyReply(results=(result,)))
            else:
                results.append(result)
        first += len(begun)
        await trio.lowlevel.checkpoint()
    _note(express, requests, results)
    return tuple(results)


def _note(
    express: Express, requests: Sequence[CreateRequest], results: Sequence[CreateResult]
) -> None:
    """Note the first two of the requests, as if they had been calls by themselves: who asks for two asks for more."""
    for request, result in zip(requests[:2], results, strict=False):
        if result.created is not None and result.created.source is Source.POOL:
            call = wire.encode_call(calls.CREATE, calls.CreateCall(request=request))
            express.tickets.note(call.removesuffix(b"\0"), request)


async def _begin(
    creator: Creator, request: CreateRequest, caller: Caller
) -> Begun | Created | Failure:
    try:
        if request.token is not None:  # who holds a token makes its domain and nothing else
            return await creator.create(request, caller.until_hangup)
        return await creator.begin(request)
    except ConnectionLost:
        raise
    except LightVMError as exc:
        return _failure(exc)


async def _complete(
    creator: Creator, index: int, one: Begun | Created | Failure, caller: Caller
) -> CreateResult:
    if isinstance(one, Failure):
        return CreateResult(index=index, failure=one)
    if isinstance(one, Created):
        return CreateResult(index=index, created=one)
    try:
        created = await creator.complete(one, caller.until_hangup)
    except ConnectionLost:
        raise
    except LightVMError as exc:
        return CreateResult(index=index, failure=_failure(exc))
    return CreateResult(index=index, created=created)


def _failure(error: LightVMError) -> Failure:
    return Failure(code=error.code, message=error.message, where=error.where)
