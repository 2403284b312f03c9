"""The judge, in the order in which a purchase passes through it:

datasets    images and labels on disk, decoded once; painted sheets
submission  the submission's process, the wall around it, and the label vault
training    the post-purchase pipelines that score what was bought
grid        the trials of an evaluation, here or on a cluster, and their journals
analysis    leaderboard, paired comparisons, where the noise comes from
report      one HTML page to look at
readiness   doctor, validate, package

Beside them `errors`, which a person reads, and `randomness`, from which every choice is drawn.
Imports neither `strategies` nor `models`: it judges any `run.py`, not only the one beside it.
"""
