"""How much a set of coupled channels matters: criteria, aggregation, normalisation."""
