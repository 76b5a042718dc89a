"""A module of the user's own: given from Python, never by name."""

from pyramidflow.model.description import CUSTOM, Encoder

ENCODERS = (Encoder(CUSTOM),)
