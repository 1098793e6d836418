"""Finds a data set, reads its columns and lays it out for the workers."""

import os
import pathlib
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
PARTS = ("base", "queries", "truth")
METRICS = {"wordnet": "cosine", "fashion": "euclid", "glove": "cosine"}
STEMS = {"wordnet": "wordnet-minilm-384-", "fashion": "fashion-", "glove": "glove-"}
K = 10


class Unavailable(Exception):
    """A set cannot be had; says what to do."""


def user_cache():
    """The user's cache folder of this project, as `datasets/src/sets/mod.rs` has it."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "engram"


def set_folder():
    """Where prepared sets are kept."""
    return pathlib.Path(os.environ.get("ENGRAM_CACHE") or user_cache() / "datasets")


def tool_folder():
    """Where the environment of the peers and the probe are kept."""
    return pathlib.Path(os.environ.get("ENGRAM_CACHE") or user_cache())


def find(name):
    """The three files of a named set or of a folder."""
    if name not in METRICS:
        folder = pathlib.Path(name)
        if not folder.is_dir():
            raise Unavailable(f"there is no set and no folder {name!r}; sets: {', '.join(METRICS)}")
        return {part: only(folder, part) for part in PARTS}
    files = known(name)
    if files is None:
        make(name)
        files = known(name)
    if files is None:
        raise Unavailable(f"the set {name} was made, but its files are not in {set_folder()}")
    return files


def only(folder, part):
    """The one file of a folder that ends so: two would be a guess."""
    found = sorted(folder.glob(f"*{part}.parquet"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise Unavailable(f"{folder} must hold exactly one *{part}.parquet; it has: {names}")
    return found[0]


def known(name):
    """The files of a named set where they are all there."""
    folders = [set_folder()]
    if name == "wordnet":
        given = os.environ.get("ENGRAM_DATA")
        folders = ([pathlib.Path(given)] if given else []) + [CHECKOUT.parent / "shared/data", *folders]
    for folder in folders:
        files = {part: folder / f"{STEMS[name]}{part}.parquet" for part in PARTS}
        if all(path.is_file() for path in files.values()):
            return files
    return None


def make(name):
    """Makes a named set by the program that knows how."""
    if name == "glove":
        command = [sys.executable, "datasets/prepare_glove.py", "--out", str(set_folder())]
    else:
        command = ["cargo", "run", "--release", "--quiet", "-p", "engram-datasets", "--bin", "prepare", "--", name]
    print(f"making the set {name}: {' '.join(command)}", file=sys.stderr)
    try:
        done = subprocess.run(command, cwd=CHECKOUT, stdout=sys.stderr, check=False)
    except OSError as error:
        raise Unavailable(f"the set {name} is not here and cannot be made: {command[0]}: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"the set {name} is not here and could not be made (see above)")


def column(path, name):
    """A column of equally long lists as a matrix."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=[name])
    except (OSError, pa.ArrowException) as error:
        raise Unavailable(f"{path}: {error}") from error
    if name not in table.column_names:
        raise Unavailable(f"{path} has no column {name!r}")
    lists = table.column(name).combine_chunks()
    if lists.null_count or len(lists) == 0:
        raise Unavailable(f"{path}: {name!r} is empty or has nulls")
    flat = np.asarray(lists.flatten())
    if flat.size % len(lists):
        raise Unavailable(f"{path}: the lists of {name!r} are not equally long")
    if not pa.types.is_fixed_size_list(lists.type):
        lengths = np.diff(lists.offsets.to_numpy())
        if (lengths != lengths[0]).any():
            raise Unavailable(f"{path}: the lists of {name!r} are not equally long")
    return flat.reshape(len(lists), -1)


def lay_out(files, metric, folder):
    """Writes base, queries and truth as .npy: workers map them, so the input never counts as their memory."""
    import numpy as np

    sizes = {}
    for part in ("base", "queries"):
        vectors = np.ascontiguousarray(column(files[part], "vector"), dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise Unavailable(f"{files[part]}: a vector has components that are not finite")
        if metric == "cosine":
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            if (lengths == 0).any():
                raise Unavailable(f"{files[part]}: a vector of zeros has no cosine")
            vectors = vectors / lengths
        np.save(folder / f"{part}.npy", vectors)
        sizes[part] = vectors.shape
    truth = column(files["truth"], "neighbors").astype(np.int64)
    if truth.shape[1] < K or truth.shape[0] != sizes["queries"][0]:
        raise Unavailable(f"{files['truth']} is {truth.shape}, not {sizes['queries'][0]} lists of {K} neighbors")
    if truth[:, :K].min() < 0 or truth[:, :K].max() >= sizes["base"][0]:
        raise Unavailable(f"{files['truth']}: names rows that the base does not have")
    if sizes["base"][1] != sizes["queries"][1]:
        raise Unavailable(f"base has {sizes['base'][1]} components, queries {sizes['queries'][1]}")
    np.save(folder / "truth.npy", truth[:, :K])
    return sizes["base"], sizes["queries"][0]
