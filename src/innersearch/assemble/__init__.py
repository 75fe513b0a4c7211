"""From names to objects: engines, policies, questions and recipes are put together here only."""
