"""The harness: launches runs, records them, and turns the records into tables."""
