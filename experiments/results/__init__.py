"""Result files: their schema, reading and writing, which are meant, what may be compared."""
