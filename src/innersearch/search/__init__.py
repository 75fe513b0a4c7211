"""Search: engines that answer queries with documents, and what keeps calls to them safe and paid for."""
