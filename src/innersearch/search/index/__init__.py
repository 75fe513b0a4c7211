"""Indexes on this machine: BM25 and vectors, of a corpus that is read once."""
