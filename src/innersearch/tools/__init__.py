"""What a policy can use: search first; others are written against `innersearch.tools.base`."""
