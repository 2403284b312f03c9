"""The labelling page: a server on this machine, and a learner that ranks the pool meanwhile."""
