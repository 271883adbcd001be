"""The database: rows, the one writer, the readers, the schema. Alone names sqlite3 and aiosqlite."""
