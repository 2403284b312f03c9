"""The buyer's judgement: scores, selectors, named strategies, the round planner."""
