"""The set that ``pyramidflow demo`` trains on: photographs of textures, with drawn defects."""
