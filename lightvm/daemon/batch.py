"""Many creates in one call: some of them begin before the first of these is waited for."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from lightvm import calls
from lightvm.daemon.caller import Caller
from lightvm.daemon.creator import Begun, Creator
from lightvm.errors import ConnectionLost, LightVMError
from lightvm.model import Created, CreateRequest, CreateResult, Failure

TOGETHER = 16
"""So many guests start before the first of them is waited for, and before others have their turn."""


async def create_all(
    creator: Creator, requests: Sequence[CreateRequest], caller: Caller
) -> tuple[CreateResult, ...]:
    """Create all; a failure does not stop the others.

    Returns the results, or the last of them where the caller is sent each as it comes. Raises `ConnectionLost` where
    nobody waits for them any more.
    """
    results: list[CreateResult] = []
    for first in range(0, len(requests), TOGETHER):
        together = requests[first : first + TOGETHER]
        begun = [await _begin(creator, request, caller) for request in together]
        for index, one in enumerate(begun, first):
            result = await _complete(creator, index, one, caller)
            if caller.send is not None and index < len(requests) - 1:
                await caller.send(calls.CreateManyReply(results=(result,)))
            else:
                results.append(result)
        await trio.lowlevel.checkpoint()
    return tuple(results)


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
