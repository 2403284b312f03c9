"""The named strategies, by family."""
