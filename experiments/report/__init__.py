"""One page for each experiment: results/reports/<experiment>.html, self-contained and static."""
