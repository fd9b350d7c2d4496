"""A TCP proxy in front of a server, which loses answers or stands still where it is told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class TcpProxy:
    """What the proxy does, to be changed while it runs."""

    port: int
    lose_answers: bool = False
    """The server gets what clients send, and clients get nothing back."""
    stands_still: bool = False
    """Nothing passes."""
    is_closed: bool = False
    """Who connects is turned away."""
    answers_lost: int = 0
    """Bytes."""
    connections: list[socket.socket] = field(default_factory=list)

    def reset(self) -> None:
        """Break every connection, as a crash does."""
        while self.connections:
            connection = self.connections.pop()
            with contextlib.suppress(OSError):
                # With no time to linger, closing sends a reset; shutdown wakes the thread that reads.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()


@contextlib.contextmanager
def tcp_proxy(target: int, port: int = 0) -> Iterator[TcpProxy]:
    """Run the proxy on a port of 127.0.0.1 (0: any), in front of another one."""
    listener = socket.create_server(("127.0.0.1", port))
    state = TcpProxy(listener.getsockname()[1])

    def passes_on(source: socket.socket, to: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                while state.stands_still:
                    time.sleep(0.01)
                if is_answer and state.lose_answers:
                    state.answers_lost += len(data)
                else:
                    to.sendall(data)
        for each in (source, to):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accepts() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if state.is_closed:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", target), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                state.connections += [client, server]
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=passes_on, args=pair, daemon=True).start()

    threading.Thread(target=accepts, daemon=True).start()
    try:
        yield state
    finally:
        state.stands_still = False
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        state.reset()
