"""What a command takes for granted around it: encodings, and a folder for temporary files.

Needs the standard library only.
"""

import codecs
import io
import os
import sys
import tempfile
from pathlib import Path

from shared.errors import ConfigurationError, see_also

TERMINAL_ENCODING = "ZEWDPC_TERMINAL_ENCODING"  # handed to the process that this one becomes


def prepare_process() -> None:
    """Make this process one in which a command works; before torch is imported.

    File names and files are UTF-8 in it, whatever the locale says: where that says otherwise the
    process begins again, in Python's UTF-8 mode. What a terminal cannot show is escaped. Ends the
    process where there is no temporary folder, without which torch cannot be imported. There must
    be a home (core.user_account).
    """
    shown = os.environ.pop(TERMINAL_ENCODING, None)
    if not shown and codecs.lookup(sys.getfilesystemencoding()).name != "utf-8":
        handed_on = {"PYTHONUTF8": "1", TERMINAL_ENCODING: getattr(sys.stdout, "encoding", "utf-8")}
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **handed_on})
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=shown, errors="backslashreplace")
    try:
        temporary = _temporary_folder()
    except ConfigurationError as error:
        print(f"error: {error}\n{see_also(error.code)}", file=sys.stderr)
        sys.exit(2)
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "matplotlib"
    if not _can_be_written(settings):  # matplotlib would say so each time, and measure all fonts
        os.environ.setdefault("MPLCONFIGDIR", str(temporary / f"matplotlib-{os.getuid()}"))


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ConfigurationError(
            "no-temporary-folder",
            f"{error.strerror}: nothing temporary can be written. Let TMPDIR name a folder where "
            "it can.",
        ) from error


def _can_be_written(folder: Path) -> bool:
    """Whether something can be written into `folder`, which may have to be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(there, os.W_OK)
