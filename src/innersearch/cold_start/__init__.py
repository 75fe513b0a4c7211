"""A cold start: a model that never writes the tags learns them from its own few-shot text."""
