"""A fuzzer for the engine and the Socket.IO layer: python -m tests.fuzz --seconds 60 [--seed N]."""
