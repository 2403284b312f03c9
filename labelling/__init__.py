"""One's own pictures: labelled folders read, imported and split, and batches for annotators."""
