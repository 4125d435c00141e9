"""Rules: what fires an alert, a command or a tag, and when it resolves."""
