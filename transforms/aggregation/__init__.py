"""Readings become windows."""
