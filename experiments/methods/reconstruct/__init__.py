"""Methods that refit the weights that stay, without gradients."""
