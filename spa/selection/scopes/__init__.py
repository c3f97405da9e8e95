"""Which channels are ranked together: one file each."""
