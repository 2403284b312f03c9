"""Choosing among one's own pictures: what `choose.py` reads, and the folder that it writes."""
