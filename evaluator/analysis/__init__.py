"""What scores mean: leaderboard, paired comparisons, where the noise is."""
