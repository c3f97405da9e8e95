"""Two small Hydra plugins of the harness; Hydra finds them by the name of this folder."""
