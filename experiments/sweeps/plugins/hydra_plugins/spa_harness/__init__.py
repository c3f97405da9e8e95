"""Small Hydra plugins of the harness; Hydra finds them by the name of the folder above."""
