"""The embedded default: a synthetic encyclopedia, its questions, a tiny model that knows part of it."""
