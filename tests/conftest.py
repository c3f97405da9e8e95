"""Makes `tests` importable from every test folder, however pytest is called."""
