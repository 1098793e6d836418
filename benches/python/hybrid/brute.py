"""What the answers should be, by brute force: nothing of Engram is used here."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

# BM25 as in Robertson and Zaragoza (2009).
K1, B = 1.2, 0.75
# Scores this near to each other (relative) are a tie: single precision is what a server answers in.
TIE = 1e-5


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


class Dense:
    """Exact cosine similarity."""

    def __init__(self, vectors: np.ndarray):
        self.vectors = unit(vectors)

    def scores(self, query: np.ndarray) -> np.ndarray:
        return self.vectors @ unit(query[None, :])[0]


class Words:
    """BM25 over all texts, as a list of texts for each word."""

    def __init__(self, texts: list[str]):
        counts = [Counter(words(text)) for text in texts]
        lengths = np.array([sum(count.values()) for count in counts], dtype=np.float64)
        # A text without a word is none of the collection's.
        self.documents = int((lengths > 0).sum())
        self.long = K1 * (1.0 - B + B * lengths / (lengths.sum() / self.documents))
        rows: dict[str, list[int]] = {}
        times: dict[str, list[int]] = {}
        for row, count in enumerate(counts):
            for word, n in count.items():
                rows.setdefault(word, []).append(row)
                times.setdefault(word, []).append(n)
        self.rows = {word: np.array(found) for word, found in rows.items()}
        self.times = {word: np.array(n, dtype=np.float64) for word, n in times.items()}

    def scores(self, query: str) -> np.ndarray:
        scores = np.zeros(len(self.long))
        for word, repeats in Counter(words(query)).items():
            rows = self.rows.get(word)
            if rows is None:
                continue
            rarity = math.log(1.0 + (self.documents - len(rows) + 0.5) / (len(rows) + 0.5))
            times = self.times[word]
            scores[rows] += repeats * rarity * (K1 + 1.0) * times / (times + self.long[rows])
        return scores


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Rows of the best scores, best first, the smaller row first where they are equal; rows without any score are none."""
    count = min(count, len(scores))
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    rows = np.flatnonzero((scores >= least) & (scores > 0))
    return rows[np.lexsort((rows, -scores[rows]))][:count]


def hits(found: list[int], scores: np.ndarray, count: int) -> float:
    """Share of the true best that was found; a row as good as the last of them counts."""
    truth = best(scores, count)
    if len(truth) == 0:
        return 1.0
    least = scores[truth[-1]] * (1.0 - TIE)
    return min(sum(scores[row] >= least for row in set(found)), len(truth)) / len(truth)


def fused(lists: list[np.ndarray], each: int, k: int) -> np.ndarray:
    """Scores of reciprocal rank fusion (Cormack et al. 2009) of the best `each` of several lists of scores.

    A row gets the place of the first row that ties with it, so that it does not matter how a tie was broken.
    """
    total = np.zeros(len(lists[0]))
    for scores in lists:
        rows = best(scores, each)
        if len(rows) == 0:
            continue
        tied = np.flatnonzero((scores >= scores[rows[-1]] * (1.0 - TIE)) & (scores > 0))
        ordered = scores[rows]
        places = np.searchsorted(-ordered, -scores[tied] * (1.0 + TIE))
        total[tied] += 1.0 / (places + k)
    return total
