"""Messages between the evaluator and a worker process: JSON and raw bytes, never pickles.

A frame is two big-endian 32-bit lengths, a JSON object, and a payload of plain bytes.
"""

import json
import socket
import struct
import time
from typing import Any

from shared.errors import ZEWDPCRuntimeError

Message = dict[str, Any]
HEADER = struct.Struct(">II")
JSON_LIMIT = 1 << 20  # bytes; a message is a few hundred
PAYLOAD_LIMIT = 1 << 28  # bytes; predictions of 3,000 images are some hundred thousand


class ChannelClosedError(ConnectionError):
    """The other side is gone."""


class Channel:
    """One end of a connection. Reading can have a time limit; a torn frame waits for its rest.

    Parameters
    ----------
    end : a connected stream socket.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._received = bytearray()

    def send(self, message: Message, payload: bytes = b"", timeout: float | None = None) -> None:
        """Send one frame.

        Raises ChannelClosedError where nobody listens, or reads for `timeout` seconds.
        """
        body = json.dumps(message).encode()
        frame = HEADER.pack(len(body), len(payload)) + body + payload
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(frame)
        except OSError as error:
            raise ChannelClosedError(str(error)) from error

    def receive(self, timeout: float | None = None) -> tuple[Message, bytes] | None:
        """The next frame, or None when `timeout` seconds brought no whole one."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (frame := self._take_frame()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                chunk = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            if not chunk:
                raise ChannelClosedError("the other side closed the connection")
            self._received += chunk
        return frame

    def close(self) -> None:
        self._socket.close()

    def _take_frame(self) -> tuple[Message, bytes] | None:
        if len(self._received) < HEADER.size:
            return None
        n_json, n_payload = HEADER.unpack_from(self._received)
        if n_json > JSON_LIMIT or n_payload > PAYLOAD_LIMIT:
            raise ZEWDPCRuntimeError(
                f"A message of {n_json} + {n_payload} bytes came; at most {JSON_LIMIT} + "
                f"{PAYLOAD_LIMIT} are taken."
            )
        end = HEADER.size + n_json + n_payload
        if len(self._received) < end:
            return None
        body = bytes(self._received[HEADER.size : HEADER.size + n_json])
        payload = bytes(self._received[HEADER.size + n_json : end])
        del self._received[:end]
        return _parse(body), payload


def _parse(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ZEWDPCRuntimeError(f"A message was not JSON: {body[:80]!r}.") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ZEWDPCRuntimeError(f"A message had no `type`: {body[:80]!r}.")
    return message
