"""Which channels must go together: labels, the pass, components, groups."""
