"""How networks are trained: kept while they go, ended when asked to, shared by processes."""
