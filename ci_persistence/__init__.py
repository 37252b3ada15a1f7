"""Storage of one installation: database, bundles, and the news of changes. Nothing outside writes SQL.

Front doors: `sqlite_repository.SQLiteJobRepository`, `bundle_files.DirectoryBundleStore`,
`change_feed.ChangeFeed`, `migrations_runner.migrate`, `data_paths.resolve`.
"""
