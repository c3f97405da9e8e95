"""The model as SPA sees it: nodes, tensors, concrete shapes, constants, cost."""
