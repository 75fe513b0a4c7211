"""innersearch: train, measure and serve LLM search agents without paying for a search engine."""

__version__ = "0.1.0"
