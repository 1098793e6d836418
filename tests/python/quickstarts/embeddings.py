"""Embeddings without a model: words hashed into a vector of length one, so that texts with words in common are near."""

from __future__ import annotations

import hashlib
import math
import re

DIMENSION = 64


def embed(text: str) -> list[float]:
    """The vector of a text."""
    vector = [0.0] * DIMENSION
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.sha256(word.encode()).digest()
        for place in digest[:4]:
            vector[place % DIMENSION] += 1.0 if digest[4] & 1 else -1.0
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]
