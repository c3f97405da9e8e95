"""Which channels go: targets, limits, the order of channels, and the search for a budget."""
