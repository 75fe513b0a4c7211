"""innersearch: train, measure and serve LLM search agents without paying for a search engine."""

from innersearch.openmp import bound_spinning

__version__ = "0.1.0"

# Before anything loads torch, which reads it once.
bound_spinning()
