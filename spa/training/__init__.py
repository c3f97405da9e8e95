"""Training of torch modules on batches that come one after another."""
