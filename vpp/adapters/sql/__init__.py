"""The store on SQLite and PostgreSQL. Only ``store.py`` is meant for others."""
