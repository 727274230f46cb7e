"""A daemon for tests: a real Unix socket, and a script for each connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

from lightvm import wire
from lightvm.errors import LightVMError

PATIENCE_S = 10.0
"""After this a test that hangs fails instead."""

Answer = msgspec.Struct | LightVMError


def parameters(call: wire.Call) -> object:
    """Return what a call carried, as plain JSON."""
    return msgspec.json.decode(call.parameters)


class Gone(Exception):
    """The client has closed the connection."""


class Peer:
    """The daemon's side of one connection."""

    def __init__(self, sock: socket.socket, calls: list[wire.Call]) -> None:
        self.socket = sock
        self._calls = calls
        self._framer = wire.Framer()

    def next_call(self) -> wire.Call:
        """Return the client's next call; raises `Gone`."""
        while (message := self._framer.next_message()) is None:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError as exc:
                raise Gone from exc
            if not data:
                raise Gone
            self._framer.feed(data)
        call = wire.decode_call(message)
        self._calls.append(call)
        return call

    def answer(self, answer: Answer, *, continues: bool = False) -> None:
        """Reply to a call with a result or an error."""
        if isinstance(answer, LightVMError):
            self.send(wire.encode_error(answer))
        else:
            self.send(wire.encode_reply(answer, continues=continues))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def wait_gone(self) -> None:
        """Wait until the client has closed the connection; more calls are a failure."""
        try:
            call = self.next_call()
        except Gone:
            return
        raise AssertionError(f"unexpected call of {call.method}")


Play = Callable[[Peer], None]


def answering(**answers: Answer | tuple[Answer, ...]) -> Play:
    """Return a script that answers any number of calls, by the last part of the method's name.

    A tuple is a stream of replies.
    """

    def play(peer: Peer) -> None:
        while True:
            call = peer.next_call()
            answer = answers[call.method.rpartition(".")[2]]
            stream = answer if isinstance(answer, tuple) else (answer,)
            for number, reply in enumerate(stream, 1):
                peer.answer(reply, continues=number < len(stream))

    return play


class ScriptedDaemon:
    """Plays one script per connection, in the order of their coming; the last one again and again.

    `calls` has every call that came in. What goes wrong in a script is raised at the end.
    """

    def __init__(self, path: Path, *plays: Play) -> None:
        self.path = str(path)
        self.calls: list[wire.Call] = []
        self.connections = 0
        self._plays = plays
        self._failures: list[BaseException] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        """Stop listening, and wait for the scripts to end; those that wait see a closed socket."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE_S)
        self._listener.close()
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already
        for thread in self._threads:
            thread.join(PATIENCE_S)
            if thread.is_alive():
                self._failures.append(AssertionError("a script did not end"))

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            play = self._plays[min(self.connections, len(self._plays) - 1)]
            self.connections += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._play, args=(play, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, play: Play, sock: socket.socket) -> None:
        try:
            with sock:
                play(Peer(sock, self.calls))
        except Gone:
            pass
        except BaseException as exc:
            self._failures.append(exc)
