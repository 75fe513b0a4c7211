"""The embedded default: a synthetic encyclopedia, its questions, and a tiny model that knows it."""
