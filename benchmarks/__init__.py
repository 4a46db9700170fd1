"""Benchmarks: what a start, a connection and a delivery cost here and in other servers, in one run on one machine."""
