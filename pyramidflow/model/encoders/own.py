"""A module of the user's own: given from Python, never by name."""

from pyramidflow.model.encoder import CUSTOM, Encoder

ENCODERS = (Encoder(CUSTOM),)
