"""Data sets: unpacked, checked, decoded once, read as the challenge names them."""
