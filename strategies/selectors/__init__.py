"""Which set of k images? Each selector is a pure function of tensors and a random generator."""
