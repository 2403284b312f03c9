"""What an evaluation writes down, line by line: trials, scores, and where they came from."""
