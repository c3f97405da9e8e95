"""What the proof of a pruned model is made of (`spa.pruning.verify` puts it together)."""
