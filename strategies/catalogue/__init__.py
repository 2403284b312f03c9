"""The named strategies, by family; importing this registers them all."""

from strategies.catalogue import baselines, uncertainty

__all__ = ["baselines", "uncertainty"]
