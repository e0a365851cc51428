"""Decides: what runs, what waits, what is up to date. Standard library only; no I/O, clock, thread, randomness."""
