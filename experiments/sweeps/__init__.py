"""Many runs: launched, written down, looked at."""
