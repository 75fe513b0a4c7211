"""innersearch: train, measure and serve LLM search agents without paying for a search engine."""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())
