"""Exceptions the judge raises. Each message says what came, what was expected, what to do."""


class ZEWDPCRuntimeError(RuntimeError):
    """Something the submission did is against the rules of the challenge."""


class OutOfBudgetError(ZEWDPCRuntimeError):
    """A label was asked for when the purchase budget was already spent."""


class DatasetError(ValueError):
    """The files of a data set are not what they must be; names the file and the line."""


class ConfigurationError(ValueError):
    """A flag, a setting or a file given to the judge cannot be used as it stands."""
