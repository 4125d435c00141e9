"""Views over what the jobs wrote."""
