"""OBSPA: pruning without fine-tuning, by layer-wise least squares."""
