"""Benchmarks: the cost of a delivery, a connection and a start, here and in two other servers, in one run on one machine."""
