"""Varlink over Unix sockets: connections, calls, replies.

Sockets are used directly, without `trio.SocketStream`: a read or write that can be done at once is done at once, and
the scheduler is asked only when there is something to wait for. On the path of a create that halves the passes
through the event loop.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable

import msgspec
import structlog
import trio

from lightvm import errors, wire
from lightvm.calls import CREATE, METHODS, SERVICE, CreateCall, CreateReply
from lightvm.daemon.attention import Pace
from lightvm.daemon.caller import Caller, stopping
from lightvm.daemon.creator import POOL, Begun
from lightvm.daemon.express import Met
from lightvm.daemon.handlers import HANDLERS, Service
from lightvm.daemon.waiting_room import could_go_on

log = structlog.get_logger()

INTERFACES = {name.rpartition(".")[0] for name in METHODS}
RECEIVE_BYTES = 65536
TURN, LONG_TURN = 8, 32
"""Calls that a client may have answered before others have their turn, and where nobody else has said anything."""
MOST_TURNS = 8
"""So many turns in a row may such a client have where no task of the daemon could go on either."""
MOST_EXPECTED = MOST_TURNS * LONG_TURN
"""So many creates one after the other are expected of a client."""
MOST_OTHERS = 3
"""After so many calls in a row that are no creates none is expected, and nothing is put on offer for it."""
SEND_SECONDS = 30.0
"""A client that does not take its replies for this long is cut off."""


async def accept_connections(
    listener: socket.socket, service: Service, connections: trio.Nursery, limit: int
) -> None:
    """Accept connections for ever, at most `limit` at once; more have to wait in the socket's backlog."""
    listener.setblocking(False)
    service.attention.watch(listener.fileno())
    slots = trio.Semaphore(limit)
    accepted = 0
    while True:
        try:
            slots.acquire_nowait()
        except trio.WouldBlock:
            await slots.acquire()
        if accepted % TURN == 0:
            await trio.lowlevel.wait_readable(listener)
        try:
            peer, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            slots.release()
            accepted = 0
            continue
        except OSError as exc:
            slots.release()
            accepted = 0
            log.error("accept-failed", error=exc.strerror)
            await trio.sleep(0.1)
            continue
        accepted += 1
        connections.start_soon(serve_connection, peer, service, slots)


async def serve_connection(peer: socket.socket, service: Service, slots: trio.Semaphore) -> None:
    """Serve one client until it goes, breaks the protocol, or the daemon stops."""
    peer.setblocking(False)
    service.attention.watch(peer.fileno())
    connection = Connection(peer, service)
    try:
        with peer:
            await connection.serve()
    except (OSError, errors.ConnectionLost, errors.ProtocolError, trio.TooSlowError) as exc:
        log.debug("connection-ended", reason=str(exc))
    finally:
        slots.release()


class Connection:
    """One client."""

    def __init__(self, peer: socket.socket, service: Service) -> None:
        self._peer = peer
        self._service = service
        self._framer = wire.Framer()
        self._turn = 0.0
        """How much of its turn the client has had."""
        self._turns = 0
        """How many it has had in a row."""
        self._alone = False
        """Whether nobody else had said anything when that was last looked at."""
        self._unlooked = 0
        """So many calls ago, the last ones in a row."""
        self._fd = peer.fileno()
        self._pace = Pace(service.attention.moment)
        self._given: Met | None = None
        self._others = 0
        """Calls, the last ones, that were no creates."""
        self._caller = Caller(peer, None, service.stop)
        self._more_caller = Caller(peer, self._send_more, service.stop)

    async def serve(self) -> None:
        """Answer calls, one after the other."""
        clients = self._service.express.clients
        clients[self._fd] = self._take
        try:
            while (message := await self._next_message()) is not None:
                await self._answer(message)
                # While it has said more than this, nobody has looked whether others have come.
                await self._take_turns(alone=self._alone and not self._framer.pending)
        finally:
            del clients[self._fd]

    async def _take_turns(self, *, alone: bool = False) -> None:
        self._turn += 1 / LONG_TURN if alone else 1 / TURN
        if self._turn < 1:
            return
        self._turns += int(self._turn)
        self._turn = 0.0
        if self._turns < MOST_TURNS and alone and not could_go_on():
            return
        self._turns = 0
        await trio.lowlevel.checkpoint()

    async def _next_message(self) -> bytes | None:
        """Return the next call, or None where the client has gone or the daemon stops.

        No checkpoint where a call is here already. A client whose call has just been answered has none on its way,
        so nothing is looked for before it is waited for.
        """
        while (message := self._framer.next_message()) is None:
            data = await self._receive()
            if not data:
                return None
            self._framer.feed(data)
        return message

    async def _receive(self) -> bytes:
        """Return what the client says next: nothing where it has gone, or where the daemon stops.

        Creates that are ready for it are done on the way, where nothing was read of it that is not answered.
        """
        try:
            return await self._hear()
        finally:
            self._service.attention.release(self)

    async def _hear(self) -> bytes:
        """No checkpoint where the client is quick and nobody else is; of several that are quick, one is waited for."""
        pace, attention = self._pace, self._service.attention
        while self._given is not None or not self._service.stop.is_set():
            pace.quick = pace.quick and attention.claim(self)
            if self._given is None and not pace.quick:
                await self._wait_called()
            met, self._given = self._given, None
            if met is None:
                if self._service.stop.is_set():
                    break
                if pace.quick and (data := self._read_unlooked()) is not None:
                    pace.hit()
                    return data
                met = self._meet()
            self._alone = met.alone
            if met.before:
                self._note_creates(met.before)
                self._turn += met.before / LONG_TURN
            pace.quick = pace.quick and met.alone  # else it waits like all others
            if met.here:
                pace.hit()
                return self._peer.recv(RECEIVE_BYTES) if met.data is None else met.data
            if met.unsent is not None or met.begun is not None:
                self._note_creates(1)
                await self._end_create(met)
            elif met.alone:
                pace.miss()
        try:
            return self._peer.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return b""

    def _read_unlooked(self) -> bytes | None:
        """Return what a lone client has said already, where it makes no creates; none after some calls in a row.

        In between nobody looks whether others have come.
        """
        unlooked, self._unlooked = self._unlooked, 0
        if (
            self._others < MOST_OTHERS
            or not self._alone
            or unlooked == TURN
            or self._framer.pending
        ):
            return None
        try:
            data = self._peer.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        self._unlooked = unlooked + 1
        return data

    def _take(self, met: Met) -> None:
        """Take what came of a create that was carried out with those of others."""
        if met.data is None and not met.unsent and met.begun is None:
            return
        self._given = met
        self._service.waiting_room.wake(self._fd)

    async def _wait_called(self) -> None:
        """Wait as long as it takes, or until the daemon stops."""
        self._service.attention.release(self)
        self._pace.start()
        room = self._service.waiting_room
        if not (self._alone and await room.wait_apart(self._peer)):
            await room.wait(self._fd, resting=not self._framer.pending)
        self._pace.stop()

    def _meet(self) -> Met:
        """Wait a moment for the client; its create may be carried out within that."""
        expected = not self._framer.pending and self._others < MOST_OTHERS
        return self._service.express.meet(self._peer, expected=MOST_EXPECTED if expected else 0)

    def _note_creates(self, number: int) -> None:
        self._pace.hit(number)
        self._others = 0

    async def _end_create(self, met: Met) -> None:
        """Send what is not sent yet of the reply to a create that was carried out."""
        if met.unsent:
            self._service.attention.release(self)
            await self._send(met.unsent)
        elif met.begun is not None:
            self._service.attention.release(self)
            await self._send(await self._reply(CREATE.name, self._complete(met.begun)))
        await self._take_turns(alone=met.alone)

    async def _complete(self, begun: Begun) -> msgspec.Struct:
        created = await self._service.creator.complete(begun, self._caller.until_hangup)
        return CreateReply(created=created)

    async def _answer(self, message: bytes) -> None:
        call = wire.decode_call(message)
        if call.upgrade:
            raise errors.ProtocolError("upgrade is not supported")
        if call.method not in METHODS:
            interface, _, _ = call.method.rpartition(".")
            reply = (
                wire.encode_service_error("MethodNotFound", "method", call.method)
                if interface in INTERFACES
                else wire.encode_service_error("InterfaceNotFound", "interface", interface)
            )
        else:
            caller = self._caller_of(call)
            reply = await self._reply(call.method, self._handle(call, message, caller))
            if caller.unsent is not None:
                reply, caller.unsent = caller.unsent, None
        if reply and not call.oneway:
            await self._send(reply)

    def _caller_of(self, call: wire.Call) -> Caller:
        if call.oneway:
            return Caller(self._peer, None, self._service.stop, deaf=True)
        return self._more_caller if call.more else self._caller

    async def _handle(
        self, call: wire.Call, message: bytes, caller: Caller
    ) -> msgspec.Struct | None:
        """Return the last result of a call whose method there is; raises what its handler raises."""
        if self._service.stop.is_set():
            raise stopping()
        parameters = wire.decode_parameters(call)
        if isinstance(parameters, CreateCall):
            self._others = 0
        else:
            self._others += 1
        result = await HANDLERS[call.method](self._service, parameters, caller)
        if isinstance(parameters, CreateCall) and not call.more and not call.oneway:
            assert result is None or isinstance(result, CreateReply)
            if result is None or result.created.source is POOL:
                self._service.express.tickets.note(message, parameters.request)
        return result

    async def _reply(self, method: str, work: Awaitable[msgspec.Struct | None]) -> bytes:
        """Return the reply that the outcome of some work is, an error included; raises `ConnectionLost`."""
        try:
            result = await work
            return b"" if result is None else wire.encode_reply(result)
        except errors.ConnectionLost:
            raise
        except errors.LightVMError as exc:
            return _encode_error(method, exc)
        except Exception:
            # The only place where an unforeseen error is caught: here it becomes a reply, and the daemon goes on.
            log.exception("internal-error", method=method)
            return wire.encode_error(errors.InternalError("a defect in the daemon; see its log"))

    async def _send_more(self, result: msgspec.Struct) -> None:
        try:
            await self._send(wire.encode_reply(result, continues=True))
        except (OSError, trio.TooSlowError) as exc:
            raise errors.ConnectionLost("the client does not take its replies") from exc

    async def _send(self, data: bytes) -> None:
        try:
            sent = self._peer.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        view = memoryview(data)[sent:]
        with trio.fail_after(SEND_SECONDS):
            while view:
                await trio.lowlevel.wait_writable(self._peer)
                try:
                    view = view[self._peer.send(view) :]
                except BlockingIOError:
                    continue


def _encode_error(method: str, error: errors.LightVMError) -> bytes:
    """Return the reply that says what went wrong; the service's own methods have errors of their own."""
    if method.rpartition(".")[0] == SERVICE:
        if isinstance(error, errors.BadRequest):
            parameter = error.where or "parameters"
            return wire.encode_service_error("InvalidParameter", "parameter", parameter)
        if isinstance(error, errors.ProtocolError):
            return wire.encode_service_error("InterfaceNotFound", "interface", error.where or "")
    return wire.encode_error(error)
