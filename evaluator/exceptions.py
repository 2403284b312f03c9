"""Errors where submissions of 2022 look for them: `from evaluator.exceptions import ...`."""

from evaluator.errors import OutOfBudgetError, ZEWDPCRuntimeError

__all__ = ["OutOfBudgetError", "ZEWDPCRuntimeError"]
