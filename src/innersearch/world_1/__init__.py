"""The first embedded world, in which searching was planted: readable for the runs that used it."""
