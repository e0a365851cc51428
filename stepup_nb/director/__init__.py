"""Acts: one event loop with processes, files, SQLite and sockets. Decides nothing; see `stepup_nb.core`."""
