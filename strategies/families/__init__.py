"""The named strategies by family: score, selector and registered name together."""
