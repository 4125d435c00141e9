"""Kafka: reading topics as columns, writing batches as messages."""
