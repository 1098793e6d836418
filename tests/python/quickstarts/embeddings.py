"""Embeddings without a model: words hashed into a vector of length one, so that texts with words in common are near."""

from __future__ import annotations

import collections
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

DIMENSION = 256
# Words that nearly every text has say nothing about it.
STOP_WORDS = frozenset("a an and are at does for how in is it of on or the to what where which who with".split())
# Components of one word.
PLACES = 8


def stem(word: str) -> str:
    """The word without the end of its plural or of its verb: `runs` is `run`."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def words(text: str) -> Iterator[bytes]:
    """A hash of each word that says something."""
    for word in re.findall(r"\w+", text.lower()):
        if word not in STOP_WORDS:
            yield hashlib.sha256(stem(word).encode()).digest()


def embed(text: str) -> list[float]:
    """The vector of a text."""
    vector = [0.0] * DIMENSION
    for digest in words(text):
        # A sign for each place: words that share one do not pull in the same direction everywhere.
        for place, sign in zip(digest[:PLACES], digest[PLACES : 2 * PLACES], strict=True):
            vector[place % DIMENSION] += 1.0 if sign & 1 else -1.0
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]


@dataclass
class SparseEmbedding:
    """As fastembed gives them."""

    indices: np.ndarray
    values: np.ndarray


class WordCounts:
    """In place of fastembed's BM25 encoder, which would load its stop words from the network: how often words occur."""

    def embed(self, texts: list[str]) -> Iterator[SparseEmbedding]:
        for text in texts:
            counts = collections.Counter(int.from_bytes(digest[:4], "little") for digest in words(text))
            yield SparseEmbedding(np.array(list(counts)), np.array(list(counts.values()), dtype=np.float32))
