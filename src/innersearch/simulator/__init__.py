"""Models that play the search engine: collecting what a real one returns, labels, fidelity."""
