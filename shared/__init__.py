"""What `evaluator` and `labelling`, which do not import each other, have in common.

Errors that a person reads, files that are written whole or not at all, the console, and `images`:
image files and label tables on disk.
"""
