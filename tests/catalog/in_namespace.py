"""Run Iceberg's REST catalog server where only this machine's loopback reaches it.

The server listens on all interfaces and cannot be told otherwise. So it runs in a network namespace of its own, and
this program, started in that namespace (`unshare --net`), hands on connections from a socket that was opened
outside, on loopback, and inherited: a socket stays in the namespace it was made in.

Usage: in_namespace.py FD PORT COMMAND...
"""

from __future__ import annotations

import fcntl
import signal
import socket
import struct
import subprocess
import sys
import threading


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # struct ifreq: name, flags. SIOCSIFFLAGS with IFF_UP | IFF_RUNNING (linux/sockios.h, net/if.h).
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


def main() -> None:
    listener, port, command = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]
    loopback_up()
    server = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: (server.terminate(), server.wait(), sys.exit(0)))
    while True:
        outside, _ = listener.accept()
        try:
            inside = socket.create_connection(("127.0.0.1", port))
        except OSError:  # not up yet
            outside.close()
            continue
        for pair in ((outside, inside), (inside, outside)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


if __name__ == "__main__":
    main()
