"""Archives as a source: Parquet, JSON lines and CSV."""
