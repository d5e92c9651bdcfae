"""Plain functions from a database to nouns. Each takes the database first and is handed to the store.

`Store.write` may run a query again from the start, so a query changes nothing but the database.
SQL is what SQLite and PostgreSQL share: named parameters, RETURNING, ON CONFLICT, columns by name, 0 and 1.
"""
