"""The durable way from a record to its sinks."""
