"""What the words of a command line must be."""

import argparse


def count(text: str) -> int:
    """A whole number of 1 or more, as argparse asks for it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
