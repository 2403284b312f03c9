"""Frozen numerics that buyer and evaluator share on purpose.

Random streams, the Muon optimiser, the symmetries of a square, the small network and the precision
rules stand here once, so that both sides have the same to the bit. No recipe, no training loop and
no calibration: whatever changes a score is either the evaluator's own or in here, and a change of
anything in here starts new scores (`evaluator.training.scoring.source_digest`).
"""
