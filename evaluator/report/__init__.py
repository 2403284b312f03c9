"""One HTML page that says what an evaluation found, how sure that is, and how to repeat it."""
