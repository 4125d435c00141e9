"""Google Pub/Sub as a source and a sink."""
