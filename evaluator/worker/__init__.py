"""One submission at work: its process, the wall around it, its questions and the answers."""
