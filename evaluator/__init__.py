"""The judge: data sets, label vault, isolation, post-purchase training, metrics, leaderboard.

Imports neither `strategies` nor `models`: it judges any `run.py`, not only the one beside it.
"""
