"""The grid of an evaluation: planned, carried out here or on a cluster, kept in journals."""
