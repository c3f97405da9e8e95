"""One run, from its settings to its result, and the folder that it lies in."""
