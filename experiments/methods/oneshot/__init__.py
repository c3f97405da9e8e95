"""Methods that score the weights as they are, cut, and train nothing."""
