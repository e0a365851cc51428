"""Asks: connects to a director or starts one, sends, waits, subscribes. Standard library only, light to import."""
