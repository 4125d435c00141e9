"""Devices: what a registry knows of them, and how their payloads are decoded and validated."""
