"""The evaluator, in the order in which a purchase passes through it:

data        images and labels on disk, decoded once
synthetic   generated data sets
records     what is written down of trials and scores, line by line
worker      the submission's process, the wall around it, and the label vault
training    the post-purchase pipelines that score what was bought
experiment  the trials of an evaluation, here or on a cluster
analysis    leaderboard, paired comparisons, where the noise comes from
report      one HTML page to look at
checks      doctor, validate, package

Numerics that the buyer shares are in `core`; errors, files and the console in `shared`. No two
packages need each other.
Imports neither `strategies` nor `models` nor `labelling`: it evaluates any `run.py`, not only the
one beside it.
"""
