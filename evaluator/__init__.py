"""The evaluator: runs submissions, sells labels, trains pipelines on what was bought, scores them.

In the order in which a purchase passes through it:

data        images and labels decoded once, as data sets of the challenge
synthetic   generated data sets
records     trials, scores and where they came from, as journalled line by line
worker      a submission's process, its isolation, and the label vault
training    the post-purchase pipelines that score what was bought
experiment  plan, scheduler and tasks of an evaluation, on one machine or a cluster
analysis    leaderboard, paired comparisons, variance components
report      one HTML page
checks      doctor, validate, package

`cli` is local_evaluation.py. What is shared with `labelling` is in `shared`, what is shared with
the buyer in `core`. No two packages here import each other, and none imports `strategies`, `models`
or `labelling`: any `run.py` can be evaluated. `dataset`, `trainer` and `exceptions` are where
submissions of 2022 look for these names.
"""
