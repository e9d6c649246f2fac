"""Passes on whatever comes to a port to another one of the same address, and the answers back. No part of the product.

    python relay.py ADDRESS PORT OTHER

It stands before a server that cannot be stopped, and can be stopped itself (shares.py).
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress


def pump(taken: socket.socket, given: socket.socket) -> None:
    with suppress(OSError):
        while data := taken.recv(1 << 18):
            given.sendall(data)
    for end in (taken, given):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def main() -> None:
    address, port, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with socket.create_server((address, port)) as listener:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((address, other))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=pump, args=ends, daemon=True).start()


if __name__ == "__main__":
    main()
