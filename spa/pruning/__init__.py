"""From importance to a smaller model: budget, plan, surgery, proof."""
