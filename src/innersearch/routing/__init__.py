"""Who answers a query: routers, and the signals that gates look at."""
