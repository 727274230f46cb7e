"""Doing the same to several domains."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lightvm import errors
from lightvm.blocking import Client
from lightvm.cli.foreign import find_foreign
from lightvm.cli.output import print_error
from lightvm.model import ForeignDomain


def for_each_domain(
    args: argparse.Namespace,
    act: Callable[[Client, str], object],
    act_on_foreign: Callable[[ForeignDomain], object],
) -> int:
    """Act on each of ``args.domains`` and return the exit code.

    With ``args.foreign`` those of other toolstacks have their turn too. A domain with which it
    fails gets its line on stderr and does not keep the others from their turn, except where the
    daemon is gone.
    """
    code = 0
    with Client(args.socket) as client:
        for domain in args.domains:
            try:
                try:
                    act(client, domain)
                except errors.NotOurs:
                    if not args.foreign:
                        raise
                    act_on_foreign(find_foreign(client, domain))
            except (errors.ConnectionLost, errors.NoDaemon, errors.ProtocolError):
                raise
            except errors.LightVMError as exc:
                print_error(exc.code, str(exc))
                code = 1
    return code
