"""Schema registries: where the schemas of Avro and Protobuf messages come from."""
