"""InfluxDB 2 as a sink: line protocol, the client, the PTransform."""
