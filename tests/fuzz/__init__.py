"""A fuzzer for all that reads bytes from a client: python -m tests.fuzz --seconds 60 [--seed N]."""
