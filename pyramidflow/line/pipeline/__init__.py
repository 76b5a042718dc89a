"""The stages of a part: decode, inspect, draw, in order, with bounded queues."""
