"""Pages that show what was pruned: widths, and the graph of groups; self-contained and static."""
