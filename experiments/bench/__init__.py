"""Measurements of SPA itself, beside its peers: what it covers, how fast it is, what it takes."""
