"""What to buy: scores, selectors, named strategies, the round planner."""
