"""Cleansing: clean names, and values in the canonical unit of their sensor type."""
