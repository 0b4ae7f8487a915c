"""How each licensed data set lies on disk: one small file per data set."""
