"""Devices: the registry's file, JSON Schemas, and the process that runs codecs."""
