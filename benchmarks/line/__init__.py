"""The line: throughput, latency, and what it survives."""
