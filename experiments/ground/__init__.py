"""What everything stands on: names, files, places, seeds, where a number comes from."""
