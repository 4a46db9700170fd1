"""By row of docs/broken-benches.md: functions that break a bench, and open a page on it."""
