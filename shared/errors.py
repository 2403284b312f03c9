"""Exceptions of the evaluator. Each message says what came, what was expected, what to do."""

import errno
import sys

# What a disk says that a person can do something about; any other error of the system is a bug.
DISK_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO}
PAGE = "docs/troubleshooting.md"


class ZEWDPCRuntimeError(RuntimeError):
    """Something the submission did is against the rules of the challenge."""


class OutOfBudgetError(ZEWDPCRuntimeError):
    """A label was asked for when the purchase budget was already spent."""


class ExplainedError(ValueError):
    """An error for a person to read, with an entry in docs/troubleshooting.md.

    Parameters
    ----------
    code : the entry's heading, short and stable, such as `missing-image`.
    message : what came, what was expected and what to do next; `str(error)`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)  # both, or it could not be sent between processes
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def explained(self) -> str:
        """The lines that a command shows: the message, and where to read more."""
        return f"{self.message}\n{see_also(self.code)}"


class DatasetError(ExplainedError):
    """The files of a data set are not what they must be; names the file and the line."""


class ConfigurationError(ExplainedError):
    """A flag, a setting or a file given to the evaluator cannot be used as it stands."""


def missing_requirement(
    command: str, error: ImportError, extra: dict[str, str] | None = None
) -> ConfigurationError:
    """What to say where `command` cannot import what it needs.

    extra : package -> the file of requirements that it stands in, beside the evaluator's own.
    """
    if file := (extra or {}).get((error.name or "").partition(".")[0]):
        return ConfigurationError(
            "missing-requirement",
            f"`{command}` cannot start: {error}. Install it with `pip install -r {file}`.",
        )
    outside = sys.prefix == sys.base_prefix
    step = "Step into the environment that `make` has made: `. .venv/bin/activate`. "
    return ConfigurationError(
        "missing-requirement",
        f"`{command}` cannot start: {error}. {step if outside else ''}`python3 -m evaluator "
        "doctor` says what is missing here and how to get it.",
    )


def see_also(code: str) -> str:
    """The line that leads to the entry of `code`: an error's, or a trial's status."""
    return f"see {PAGE}#{code}"
