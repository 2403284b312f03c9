"""Whether the data of a JPEG are as long as its picture.

libjpeg decodes whatever it is given: blocks that are missing become grey, bytes that are left over
are skipped, and Pillow passes neither on as an error. But Huffman codes that were overwritten or
lost hardly ever stand for exactly as many blocks as the sound ones did. So the data between two
markers are given to Pillow's decoder in two parts: before their last bytes blocks must be missing,
and behind them none may be. That costs one decoding at an eighth of the size.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image, JpegImagePlugin

FORMATS = {"JPEG", "MPO"}  # as Pillow calls them; the second has several pictures, here the first
MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN, HUFFMAN_TABLES = 0xD8, 0xD9, 0xDA, 0xC4
RESTARTS = range(0xD0, 0xD8)
STANDALONE = {0x01, START_OF_IMAGE, *RESTARTS}  # markers without a length and a segment
FRAMES = {*range(0xC0, 0xD0)} - {HUFFMAN_TABLES, 0xC8, 0xCC}
HUFFMAN_CODED = {0xC0, 0xC1, 0xC2}  # frames: baseline, extended and progressive
# Tables, number of lines, restart interval, applications' data, comments, and the next scan.
BETWEEN_SCANS = {HUFFMAN_TABLES, START_OF_SCAN, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}

HOLE = bytes(64)
# libjpeg decodes a block while eight more bytes are there. A byte of ones is the beginning of no
# code, and so hardly a block.
LOOKAHEAD = 8 * b"\xff\x00"
LEFT_BEHIND = 8  # bytes that some cameras leave between the last block and the next marker


class Checked(NamedTuple):
    """What is wrong with a JPEG's data, or empty; and the picture as RGB, at any size."""

    damage: str
    small: Image.Image


def check(content: bytes) -> Checked:
    """Whether the data of a JPEG file are as long as its picture.

    What follows the end of the picture does not matter. Of the few files without Huffman codes no
    more is known than that they can be decoded. Raises what Pillow does where the header is broken.
    """
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(content))
    image.draft(image.mode, (1, 1))
    try:
        scans = list(_scans(content))
    except _MisplacedError as error:
        return Checked(str(error), image)
    if not scans:
        return Checked("", image.convert("RGB"))
    with _decoder(image) as decoder:
        trouble = _out_of_step(content, scans, decoder)
    if not trouble and any(scan.has_hole(content) for scan in scans):
        trouble = "a stretch of its data is zeros"
    end = scans[-1].intervals[-1][1]
    bare = content[:end].rstrip(b"\0")
    if trouble and end - len(bare) > LEFT_BEHIND:  # zeros that fill the file up
        return check(bare + content[end:])
    return Checked(trouble, image.convert("RGB"))


@dataclass
class _Scan:
    """One pass over the picture.

    zeros_say : whether a long row of zeros stands for coefficients that no picture has: the same
        value, the smallest of its length, in every place of every block.
    intervals : where its data begin and end, by the markers between them.
    """

    zeros_say: bool
    intervals: list[tuple[int, int]] = field(default_factory=list)

    def has_hole(self, content: bytes) -> bool:
        found = (content.find(HOLE, start, end) for start, end in self.intervals)
        return self.zeros_say and any(position >= 0 for position in found)


class _MisplacedError(Exception):
    """A marker that cannot be where it is, in words."""


def _scans(content: bytes) -> Iterator[_Scan]:
    """The scans of a file; none where it is coded otherwise."""
    position, started = 0, False
    first_symbols: dict[int, int] = {}  # of AC tables, by number; their codes are zeros
    while marker := MARKER.search(content, position):
        if started and marker.start() > position:
            raise _MisplacedError("a stretch of its data is missing or overwritten")
        code = marker[1][0]
        position = marker.end()
        if code == END_OF_IMAGE:
            return
        if code in STANDALONE and not started:
            continue
        if started and code not in BETWEEN_SCANS:
            raise _MisplacedError("a stretch of its data is overwritten")
        if code in FRAMES and code not in HUFFMAN_CODED:
            return
        length = int.from_bytes(content[position : position + 2], "big")
        segment = content[position + 2 : position + length]
        position += length
        if code == HUFFMAN_TABLES:
            first_symbols |= _first_symbols(segment)
        if code == START_OF_SCAN:
            started = True
            scan = _Scan(_zeros_say(segment, first_symbols))
            yield scan
            position = _fill(scan, content, position)


def _fill(scan: _Scan, content: bytes, position: int) -> int:
    """Enter the intervals of a scan whose data begin at `position`; where its last one ends."""
    while marker := MARKER.search(content, position):
        scan.intervals.append((position, marker.start()))
        if marker[1][0] not in RESTARTS:
            return marker.start()
        position = marker.end()
    scan.intervals.append((position, len(content)))
    return len(content)


def _first_symbols(segment: bytes) -> dict[int, int]:
    """The symbol with the first code, zeros only, of each table of AC coefficients."""
    found: dict[int, int] = {}
    while len(segment) > 17:
        kind, number = divmod(segment[0], 16)
        if kind == 1:
            found[number] = segment[17]
        segment = segment[17 + sum(segment[1:17]) :]
    return found


def _zeros_say(header: bytes, first_symbols: dict[int, int]) -> bool:
    """Whether zeros are coefficients to a scan, instead of the end of every block."""
    components = header[0] if header else 0
    if len(header) < 4 + 2 * components:
        return False
    first, last = header[1 + 2 * components], header[2 + 2 * components]
    if last == 0:  # the means of blocks alone: they are all alike where nothing is to be seen
        return False
    tables = {header[2 + 2 * one] % 16 for one in range(components)}
    # Without tables, as in the frames of a film, the usual ones are meant.
    return first <= last and any(first_symbols.get(table, 1) % 16 for table in tables)


def _out_of_step(content: bytes, scans: list[_Scan], decoder: "_Decoder") -> str:
    """In words, where a scan's data and its blocks do not end together."""
    fed = 0
    for scan in scans:
        for start, end in scan.intervals:
            near = max(start, end - 1 - LEFT_BEHIND)
            decoder.feed(content[fed:near])
            probe = content[near : near + 4] if near > start else b""
            if probe and decoder.skips(probe):
                return "some of its data are left over when the picture is complete"
            decoder.feed(content[near + len(probe) : end] + LOOKAHEAD)
            if not decoder.skips(b"\xff\x00" * 2):
                return "its data end before the picture is complete"
            if decoder.finished:  # a scanner may go on
                return decoder.trouble
            fed = end
        # Where a restart is due it goes on with blocks. Behind the last one it passes over it.
        decoder.feed(bytes([0xFF, RESTARTS[(len(scan.intervals) - 1) % len(RESTARTS)]]))
        if not decoder.skips(b"\xff\x00" * 2):
            return "its data end before the picture is complete"
    decoder.feed(content[fed:])
    return decoder.trouble if decoder.finished else "its end is missing"


class _Decoder:
    """Pillow's decoder for one JPEG, of which one sees how far it has read."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._ahead = b""  # not read yet
        self.finished = False
        self.trouble = ""

    def feed(self, more: bytes) -> None:
        """Give it `more` bytes; whole blocks are read, of what it has not read it gets again."""
        if self.finished:
            return
        self._ahead += more
        read, error = self._decoder.decode(self._ahead)
        self.finished = read < 0
        self._ahead = b"" if self.finished else self._ahead[read:]
        if error < 0:
            self.trouble = "its data cannot be decoded"

    def skips(self, some: bytes) -> bool:
        """Whether no block is missing, so that it only looks for the next marker.

        It then passes over byte by byte, where in a block it reads as many as it can hold, which
        are six or more.
        """
        skipped = True
        for byte in some:
            self.feed(bytes([byte]))
            skipped = skipped and (byte == 0xFF or not self._ahead)
        return skipped or self.finished


@contextmanager
def _decoder(image: JpegImagePlugin.JpegImageFile) -> Iterator[_Decoder]:
    """What fills the pixels of an image that was opened, instead of its own `load`."""
    image.load_prepare()
    (tile,) = image.tile
    image.tile = []
    decoder = Image._getdecoder(image.mode, tile.codec_name, tile.args, image.decoderconfig)
    try:
        decoder.setimage(image.im, tile.extents)
        yield _Decoder(decoder)
    finally:
        decoder.cleanup()
