"""The database room: one SQLite file an instance. It imports core and itself, nothing else.

`db.Database` is the engine's ledger, `paper_store.PaperDatabase` the paper exchange's own books in
the same file, `history.DatabaseHistory` the read-only pages of the web.
"""
