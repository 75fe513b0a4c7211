"""Benchmarks by name: what they are, fetching them, and checking files of questions."""
