"""Errors where submissions of 2022 look for them: `from evaluator.exceptions import ...`."""

from shared.errors import OutOfBudgetError, ZEWDPCRuntimeError

__all__ = ["OutOfBudgetError", "ZEWDPCRuntimeError"]
