"""Serves the page on this machine, at an address that nobody else knows."""

import json
import secrets
import socket
import threading
import webbrowser
from pathlib import Path
from typing import NamedTuple

import uvicorn

from labelling.page.app import make_app
from labelling.page.gate import Gate
from labelling.page.session import LabellingSession
from shared.atomic_io import write_file
from shared.errors import ConfigurationError

HOST = "127.0.0.1"
ADDRESS = ".address.json"  # in the output folder: hidden, and readable by its owner only


class Address(NamedTuple):
    """Where the page is, and the secret in it."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/{self.token}/"

    @property
    def hosts(self) -> list[str]:
        """What a browser on this machine sends as Host."""
        return [f"{name}:{self.port}" for name in (HOST, "localhost")]


def bind(folder: Path, port: int | None) -> tuple[socket.socket, Address]:
    """A socket to serve on: of `port`, else the one of last time, else any free one.

    The address is kept in `folder`, so that a page that is open goes on when the server is started
    again. Raises ConfigurationError where `port` is taken.
    """
    before = _last_address(folder)
    listening = _listen(port) if port else (before and _listen(before.port)) or _listen(0)
    if listening is None:
        raise ConfigurationError(
            "port-taken",
            f"--port {port}: another program on this machine uses it, or it is not allowed. Give "
            "another, or leave --port out.",
        )
    token = before.token if before else secrets.token_urlsafe(24)
    address = Address(listening.getsockname()[1], token)
    write_file(folder / ADDRESS, json.dumps(address._asdict()).encode())
    (folder / ADDRESS).chmod(0o600)
    return listening, address


def serve(
    session: LabellingSession, listening: socket.socket, address: Address, open_browser: bool
) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    app = Gate(make_app(session), address.token, address.hosts)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address.url,), daemon=True).start()
    uvicorn.Server(config).run(sockets=[listening])


def _last_address(folder: Path) -> Address | None:
    try:
        found = json.loads((folder / ADDRESS).read_bytes())
        return Address(int(found["port"]), str(found["token"]))
    except (OSError, ValueError, KeyError, TypeError):  # a new one is made
        return None


def _listen(port: int) -> socket.socket | None:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError:
        listening.close()
        return None
    return listening
