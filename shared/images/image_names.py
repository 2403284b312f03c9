"""Which file an image's name in another tool's table means.

Tools write names as they saw them: `C:\\photos\\a.png`, `images/my%20photo.png`,
`/data/local-files/?d=photos/a.png`, `cb0618f6-a.png`. The file that is called so to the letter
comes first, then the name as it was before the tool wrote it, then a file of that name in a folder
that the table does not contradict, then the name without a prefix that an upload gave it. A label
that goes to another image is worse than one that is refused, so a table's folder `cam2/` is never
taken for `cam1/`, and of several files none is taken.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from shared.images.names import canonical

Parts = tuple[str, ...]  # of a path below the images' folder, in one Unicode form

ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<host>[^/]*)", re.IGNORECASE)
LOCAL_FILE = re.compile(r"[?&]d=([^&]*)")  # Label Studio: /data/local-files/?d=photos/a.png
DRIVE = re.compile(r"/*[a-z]:(?=/)", re.IGNORECASE)
UPLOAD_FOLDER = re.compile(r"(.*/)?upload/\d+/|images/(\d+/)?")  # Label Studio's, and its exports'
UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
DECODINGS = 2  # times that a name may have been written as in an address


@dataclass(frozen=True)
class Meant:
    """What a name may mean.

    files : one, where that is clear; several that it may be; or none.
    moved : whether the file lies elsewhere, or is called otherwise, than the table says.
    above : folders that the table names above those of the file.
    """

    files: tuple[Path, ...]
    moved: bool
    above: Parts = ()


class ImageNames:
    """The files below `root`, to be found by the names that a table has for them."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self.root = root
        self._by_path: dict[str, Path] = {}
        self._by_form = defaultdict[Parts, list[Path]](list)
        self._by_name = defaultdict[str, list[Path]](list)
        self._by_uploaded = defaultdict[str, list[Path]](list)
        self._folders: set[Parts] = set()
        for file in files:
            below = file.relative_to(root)
            parts = _parts(below.as_posix())
            self._by_path[below.as_posix()] = file
            self._by_form[parts].append(file)
            self._by_name[parts[-1]].append(file)
            self._by_uploaded[_as_uploaded(parts[-1])].append(file)
            self._folders.update(parts[:end] for end in range(1, len(parts)))

    def meant_by(self, name: str) -> Meant:
        """The file that `name` means, or several that it may mean."""
        if file := self._by_path.get(posixpath.normpath(name)):
            return Meant((file,), moved=False)
        spellings = [_parts(name), *_spellings(name)]
        spellings = [one for one in dict.fromkeys(spellings) if one]  # 'C:/' leaves nothing
        for spelling in spellings:
            if files := self._by_form.get(spelling):
                return Meant(tuple(files), moved=False)
        for spelling in spellings:
            if files := self._agreeing(spelling, self._by_name[spelling[-1]]):
                depth = len(files[0].relative_to(self.root).parts)
                return Meant(tuple(files), moved=True, above=spelling[:-depth])
        for spelling in spellings:
            for bare in _without_prefixes(spelling):
                uploaded = self._by_uploaded[_as_uploaded(bare[-1])]
                named = [file for file in uploaded if canonical(file.name) == bare[-1]]
                if files := self._agreeing(bare, named or uploaded):
                    return Meant(tuple(files), moved=True)
        return Meant((), moved=False)

    def called_alike(self, name: str) -> list[Path]:
        """Files that a person may have meant: of its name elsewhere, in capitals, or converted."""
        names = [parts[-1] for parts in _spellings(name) if parts]
        names += [bare[-1] for name in names for bare in _without_prefixes((name,))]
        wanted = set(map(_stem, names))
        return [file for file in self._by_path.values() if _stem(canonical(file.name)) in wanted]

    def _agreeing(self, parts: Parts, files: Sequence[Path]) -> list[Path]:
        """Those whose folders say what those of the table do, as far as both go.

        Where some agree for longer than others: these.
        """
        longest, found = 0, list[Path]()
        for file in files:
            there = _parts(file.relative_to(self.root).as_posix())
            common = min(len(parts), len(there))
            # By its name alone, because the tool may have changed that.
            if parts[-common:-1] != there[-common:-1] or self._has_the_folder(parts, there):
                continue
            if common > longest:
                longest, found = common, []
            if common == longest:
                found.append(file)
        return found

    def _has_the_folder(self, parts: Parts, there: Parts) -> bool:
        """Whether the folder that the table names is here, too, so that the image is not in it."""
        beyond = parts[: -len(there)] if len(there) < len(parts) else ()
        return any((*beyond[start:], *there[:-1]) in self._folders for start in range(len(beyond)))


def _spellings(name: str) -> Iterator[Parts]:
    """What a tool may have made the name from, the least changed first."""
    if local := LOCAL_FILE.search(name):
        paths = [local[1], local[1].replace("+", " ")]
    elif address := ADDRESS.match(name):
        paths = [re.split("[?#]", name[address.end() :])[0]]
    else:
        paths = [name, name.partition("?")[0]]
    for path in paths:
        for _ in range(1 + DECODINGS):
            yield _parts(_plain(path))
            path = unquote(path)


def _plain(path: str) -> str:
    """Without what another machine puts before a path, and with `/` between folders."""
    return DRIVE.sub("", path.strip().replace("\\", "/"))


def _parts(path: str) -> Parts:
    """Folders and name; folders above, from wherever the tool saw them, say nothing."""
    whole = posixpath.normpath(path)
    return tuple(canonical(part) for part in whole.split("/") if part not in ("", ".", ".."))


def _without_prefixes(parts: Parts) -> Iterator[Parts]:
    """The name as it was uploaded, once or again and again, without the tool's own folders."""
    above = UPLOAD_FOLDER.sub("", "".join(f"{part}/" for part in parts[:-1]), count=1)
    name = parts[-1]
    while prefix := UPLOAD_PREFIX.match(name):
        name = name[prefix.end() :]
        yield (*above.split("/")[:-1], name)


def _as_uploaded(name: str) -> str:
    """What Label Studio keeps of a name: no blanks, and no signs that an address may not have."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _stem(name: str) -> str:
    return name.rpartition(".")[0].casefold() or name.casefold()
