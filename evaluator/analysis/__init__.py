"""What scores mean: the table of results, leaderboard, paired comparisons, sources of noise.

>>> from evaluator.analysis import load_results
>>> load_results("results/demo").groupby("strategy").macro_f1.mean()
"""

from evaluator.analysis.loading import load_results

__all__ = ["load_results"]
