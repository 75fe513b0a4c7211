"""What goes around engines: caches, budgets, retries, fusion, noise on purpose."""
