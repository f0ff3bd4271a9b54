"""How fast this is, against a named peer in the same run: `python -m benchmarks NAME [--json]`."""
