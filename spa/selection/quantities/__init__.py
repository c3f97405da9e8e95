"""What a target can be of: one file each."""
