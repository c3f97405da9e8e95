"""Methods that train, and prune what training made sparse."""
