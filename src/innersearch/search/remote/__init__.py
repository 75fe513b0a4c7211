"""Engines over a network: search APIs and `/retrieve` servers."""
