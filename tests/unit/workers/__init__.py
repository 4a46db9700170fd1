"""Tests of `realtime/workers`."""
