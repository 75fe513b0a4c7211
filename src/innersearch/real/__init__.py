"""Questions about real facts: countries, cities, elements, and quizzes of others."""
