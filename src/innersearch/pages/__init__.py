"""Who has a page: corpora, the web, endpoints that read it; and what is kept of it."""
