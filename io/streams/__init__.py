"""Streams: reading without end, filing what was read before it counts as read, and windows over what was filed."""
