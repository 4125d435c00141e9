"""Anomaly scores: how unusual a reading is for its series, by one or several detectors."""
