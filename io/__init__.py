"""The borders: files, the lake, InfluxDB, secrets, storage."""
