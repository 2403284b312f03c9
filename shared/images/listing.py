"""What lies below a folder: what cannot be listed, or leads nowhere, is never taken for absent."""

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DatasetError

IMAGE_SUFFIXES = frozenset(
    {
        *(".png", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
        *(".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".jfi"),  # browsers save JPEG as .jfif
    }
)
SYSTEM_FOLDERS = frozenset(  # of archives, disks, network storage and Windows: nobody's images
    {
        *("__MACOSX", "__pycache__", "lost+found", "LOST.DIR", "RECYCLER", "RECYCLED"),
        *("@eaDir", "#recycle", "#snapshot", "@tmp", "@Recycle", "@Recently-Snapshot", "@__thumb"),
        *("$RECYCLE.BIN", "System Volume Information", "$Extend", "~snapshot", "_gsdata_"),
        *("Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder"),
    }
)
SYSTEM_FILES = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "Picasa.ini", "Icon\r"})
IN_CAPITALS = frozenset({"RECYCLER", "RECYCLED"})  # else somebody's class, where waste is sorted
ANY_CASE = {name.casefold() for name in (SYSTEM_FOLDERS | SYSTEM_FILES) - IN_CAPITALS}
CHECKED_DISK = re.compile(r"found\.\d{3}", re.IGNORECASE)  # what Windows found on a damaged disk
PLACEHOLDERS = {  # suffix of a file that stands where an image or a folder will be -> what it is
    ".dvc": "a DVC file; `dvc pull` fetches its content",
    ".icloud": "its content is in iCloud; open its folder on a Mac to load it",
    ".nextcloud": "its content is in Nextcloud; make it available offline",
    ".owncloud": "its content is in ownCloud; make it available offline",
}
POINTERS = {  # how a small text begins that stands where an image will be -> what it is
    rb"version https://(git-lfs|hawser)\.": "a Git LFS pointer; `git lfs pull` fetches its content",
    rb"\S*/annex/objects/": "a git-annex pointer; `git annex get` fetches its content",
}
FETCHED_BY = {"annex": "git annex get", ".dvc": "dvc pull", "lfs": "git lfs pull"}  # in a link
POINTER_BYTES = 1024  # that a pointer has at most, as the specification of Git LFS says
NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
NAMED = 3  # absent images that are named
KINDS = 5  # of files that are not read, counted by suffix


@dataclass(frozen=True)
class Listing:
    """What lies below a folder, sorted; nothing hidden and nothing in a system's own folders.

    images : files that are called like images, and have content.
    absent : what stands there without its content -> why, and what to do: links that lead nowhere,
        and the pointers and placeholders of tools that fetch on demand.
    others : how many files are called otherwise, by suffix.
    """

    images: tuple[Path, ...]
    absent: dict[Path, str]
    others: Counter[str]

    @property
    def others_in_words(self) -> str:
        """`23 other files are not read (.gif 21, .heic 1, .cr2 1)`; empty where there are none."""
        if not self.others:
            return ""
        listed = [f"{kind} {n}" for kind, n in self.others.most_common(KINDS)]
        listed += ["..."] * (len(self.others) > KINDS)
        files = "file is" if self.others.total() == 1 else "files are"
        return f"{self.others.total():,} other {files} not read ({', '.join(listed)})"

    @property
    def absent_in_words(self) -> str:
        """`6 of 10 images are not on this disk ('a.png': a link to b.png, where nothing is)`."""
        if not self.absent:
            return ""
        total = len(self.images) + len(self.absent)
        named = "; ".join(
            f"{str(path)!r}: {why}" for path, why in list(self.absent.items())[:NAMED]
        )
        return f"{len(self.absent):,} of {total:,} images are not on this disk ({named})"

    def refuse_absent(self) -> None:
        """Raise DatasetError where content is absent that must be known."""
        if self.absent:
            raise DatasetError(
                "missing-image",
                f"{self.absent_in_words}. Fetch their content, or move them elsewhere.",
            )


def list_images(folder: Path) -> Listing:
    """The images below `folder`, at any depth and behind links.

    Raises DatasetError where a part of it cannot be listed: nobody knows what lies there.
    """
    images, absent, others = list[Path](), dict[Path, str](), Counter[str]()
    for path in _all_below(folder, links=True):
        suffix = path.suffix.lower()
        if suffix in PLACEHOLDERS and _stands_for_images(path):
            absent[path] = PLACEHOLDERS[suffix]
        elif is_visible(path.name) and not is_folder(path):
            if why := why_absent(path):
                absent[path] = why
            elif suffix in IMAGE_SUFFIXES and path.is_file():
                images.append(path)
            else:
                others[suffix or "without a suffix"] += 1
    return Listing(tuple(sorted(images)), dict(sorted(absent.items())), others)


def visible_below(root: Path, *, links: bool = True) -> Iterator[Path]:
    """Everything at any depth that is neither hidden nor in a hidden or a system's own folder.

    links : whether what lies behind links to folders counts, too.
    Raises DatasetError where a folder cannot be listed.
    """
    return (path for path in _all_below(root, links) if is_visible(path.name))


def folders_below(root: Path, links: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """Every folder and all names in it, behind links too if wanted, each once.

    Neither hidden folders nor those of a system. Raises DatasetError where one cannot be listed.
    """
    seen: set[Path] = set()
    for folder, names, files in os.walk(root, onerror=_refuse, followlinks=links):
        real = Path(folder).resolve()
        if real in seen:  # a link that leads back
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(filter(is_visible, names))
        yield Path(folder), [*names, *files]


def is_visible(name: str) -> bool:
    """Whether a file or folder is one that a person put there, by its name."""
    systems = name in IN_CAPITALS or name.casefold() in ANY_CASE
    return not (name.startswith(".") or systems or CHECKED_DISK.fullmatch(name))


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder. Raises DatasetError where that may not be known."""
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def why_absent(path: Path) -> str:
    """Why the file `path` has no content on this disk, and what to do; empty where it has.

    Raises DatasetError where that may not be known.
    """
    status = _status(path)
    if status is None:
        return _leads_nowhere(path)
    if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= POINTER_BYTES:
        return _pointer(path)
    return ""


def where_content_is(path: Path) -> str:
    """Where the content of `path` is, if a link or a DVC file stands in its place; else empty."""
    if os.path.lexists(path) and (why := why_absent(path)):
        return f" It is {why}."
    placeholder = path.with_name(f"{path.name}.dvc")
    return f" {placeholder} stands for it: `dvc pull` fetches it." if is_file(placeholder) else ""


def is_file(path: Path) -> bool:
    """Whether `path` is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:  # a name that is longer than any file's
        return False


def _all_below(root: Path, links: bool) -> Iterator[Path]:
    return (folder / name for folder, names in folders_below(root, links) for name in names)


def _refuse(error: OSError) -> None:
    raise _unreadable(Path(error.filename), error) from error


def _status(path: Path) -> os.stat_result | None:
    """None where nothing is there, or a link leads nowhere."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise _unreadable(path, error) from error
    except ValueError:  # a name that no file can have
        return None


def _unreadable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(
        "unreadable-folder",
        f"{path} cannot be read ({error.strerror}), and what lies there must not be passed over. "
        "Get the right to read it (`chmod -R u+rX`, or run as its owner), or move it elsewhere.",
    )


def _stands_for_images(placeholder: Path) -> bool:
    """Whether content is meant that is an image's or a folder's, and does not lie beside it."""
    hidden = placeholder.suffix.lower() == ".icloud"
    if not hidden and not is_visible(placeholder.name):
        return False
    content = placeholder.parent / placeholder.stem.removeprefix("." if hidden else "")
    meant = content.suffix.lower()
    return meant in {"", *IMAGE_SUFFIXES} and not os.path.lexists(content)


def _leads_nowhere(path: Path) -> str:
    try:
        target = path.readlink()
    except (OSError, ValueError):  # it is no link
        return "it was there a moment ago, and is gone"
    fetch = [f"; `{by}` fetches it" for part, by in FETCHED_BY.items() if part in target.parts]
    return f"a link to {target}, where nothing is{''.join(fetch[:1])}"


def _pointer(path: Path) -> str:
    try:
        begin = path.read_bytes()
    except OSError:
        return ""  # whoever reads the image says why it cannot be read
    return next((what for start, what in POINTERS.items() if re.match(start, begin)), "")
