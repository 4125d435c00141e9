"""Trained models in the lake: published in one step, checked when read, reloaded while a job runs."""
