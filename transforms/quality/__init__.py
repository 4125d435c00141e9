"""Quality: which readings can be used, how good they are, and the report of a run."""
