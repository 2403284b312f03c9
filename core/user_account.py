"""What libraries take for granted of a process's user, and a container may not have."""

import getpass
import os
from pathlib import Path


def ensure_user_and_home() -> None:
    """Give this process, and those that it starts, the user's name and home where they have none.

    A user id without an entry in /etc/passwd is usual in containers. torch calls a folder after the
    user when the first optimiser is made, even if nothing is compiled.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the second from Python 3.13 on
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.sep  # as Docker has it
