"""Alerts and commands on their way out: Kafka, Pub/Sub, webhooks, and the log of what was sent."""
