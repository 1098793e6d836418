"""The libraries, each driven as its own documentation would have it.

An adapter has `build(base)`, `run(ef)`, which is what is timed, and `ids(raw)`, which turns what `run` returned into a
matrix of row numbers. All get degree 32 (M = 16), ef_construction 200 and two threads to build; a search is one thread
of one core. Vectors of a cosine set have unit length already, so each library takes the distance it is fastest with:
inner product and euclid rank alike there.
"""

import json
import os

import numpy as np

K, M, DEGREE, EF_CONSTRUCTION = 10, 16, 32, 200


class Unusable(Exception):
    """The library is installed but cannot do what its row needs on this machine."""


class Library:
    """What adapters share."""

    package = ""
    note = ""
    # No call takes all queries at once: the loop of the interpreter is part of the time.
    per_query_call = False
    # The index is a folder of files: it is built by another process, then opened, so that what the build left in the
    # allocator is not counted.
    stored = False

    def __init__(self, name, metric, threads, folder, cpu):
        self.name, self.metric, self.threads, self.folder, self.cpu = name, metric, threads, folder, cpu
        self.cosine = metric == "cosine"
        self.queries = None

    def set_queries(self, queries):
        self.queries = queries

    def prepare(self):
        """Imports the library: that memory is none of the index."""

    def build(self, base):
        raise NotImplementedError

    def open(self, count):
        """Opens what `build` stored."""

    def run(self, ef):
        raise NotImplementedError

    def ids(self, raw):
        return raw

    def effort(self):
        """Distances and hops of the last run, per query, where the library counts them."""
        return None, None


class Hnswlib(Library):
    package = "hnswlib"

    def prepare(self):
        import hnswlib

        self.module = hnswlib

    def build(self, base):
        self.index = self.module.Index(space="ip" if self.cosine else "l2", dim=base.shape[1])
        self.index.init_index(max_elements=len(base), M=M, ef_construction=EF_CONSTRUCTION)
        self.index.add_items(base, num_threads=self.threads)

    def run(self, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(self.queries, k=K, num_threads=1)

    def ids(self, raw):
        return raw[0].astype(np.int64)


class Faiss(Library):
    package = "faiss-cpu"
    CODES = {"faiss-sq8": "QT_8bit", "faiss-bf16": "QT_bf16"}

    def prepare(self):
        import faiss

        self.faiss = faiss

    def build(self, base):
        faiss = self.faiss
        self.padding = 0 if self.name == "faiss-flat" else -base.shape[1] % 16
        if self.padding:
            # Its quantizers have vector code for multiples of 16 only; zeros change no distance.
            self.note = "zeros up to a multiple of 16 components"
            base = self.pad(base)
        self.padded_queries = self.pad(self.queries)
        dimension = base.shape[1]
        metric = faiss.METRIC_INNER_PRODUCT if self.cosine else faiss.METRIC_L2
        faiss.omp_set_num_threads(self.threads)
        if self.name == "faiss-flat":
            self.index = faiss.IndexHNSWFlat(dimension, M, metric)
        else:
            code = getattr(faiss.ScalarQuantizer, self.CODES[self.name])
            self.index = faiss.IndexHNSWSQ(dimension, code, M, metric)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        if not self.index.is_trained:
            self.index.train(base)
        self.index.add(base)
        faiss.omp_set_num_threads(1)

    def pad(self, rows):
        return np.pad(rows, ((0, 0), (0, self.padding))) if self.padding else rows

    def run(self, ef):
        self.index.hnsw.efSearch = ef
        self.faiss.cvar.hnsw_stats.reset()
        return self.index.search(self.padded_queries, K)

    def ids(self, raw):
        return raw[1]

    def effort(self):
        stats = self.faiss.cvar.hnsw_stats
        return stats.ndis / len(self.queries), stats.nhops / len(self.queries)


class Usearch(Library):
    package = "usearch"

    def prepare(self):
        from usearch import index

        self.module = index

    def build(self, base):
        kind = "i8" if self.name == "usearch-i8" else "f32"
        if kind == "i8":
            # Its own conversion takes components for parts of a unit vector, which wastes most of the 8 bits of long
            # vectors and ruins others. Moving and scaling all alike keeps the order of euclidean distances.
            low, high = float(base.min()), float(base.max())
            self.move, self.scale = (low + high) / 2, 254.0 / (high - low)
            self.note = "vectors and queries scaled to the whole range of i8, euclid"
        metric = "ip" if self.cosine and kind == "f32" else "l2sq"
        self.index = self.module.Index(
            ndim=base.shape[1], metric=metric, dtype=kind, connectivity=M, expansion_add=EF_CONSTRUCTION
        )
        step = 1 << 14
        for start in range(0, len(base), step):
            rows = base[start : start + step]
            keys = np.arange(start, start + len(rows), dtype=np.uint64)
            self.index.add(keys, self.cast(rows), threads=self.threads)
        self.cast_queries = self.cast(self.queries)

    def cast(self, rows):
        if self.name != "usearch-i8":
            return rows
        return np.clip(np.rint((rows - self.move) * self.scale), -127, 127).astype(np.int8)

    def run(self, ef):
        self.index.expansion_search = ef
        self.found = self.index.search(self.cast_queries, K, threads=1)
        return self.found

    def ids(self, raw):
        return raw.keys.astype(np.int64)

    def effort(self):
        count = len(self.queries)
        return self.found.computed_distances / count, self.found.visited_members / count


class Symqg(Library):
    package = "rabitqlib"

    def prepare(self):
        import rabitqlib

        self.module = rabitqlib

    def build(self, base):
        bits = int(self.name.removeprefix("symqg-"))
        # Euclid also for cosine: on WordNet it was no slower than "ip" at equal recall.
        self.index = self.module.SymqgIndex(base.shape[1], DEGREE, "l2", bits)
        self.index.build(base, EF_CONSTRUCTION, self.threads)

    def run(self, ef):
        return self.index.search_batch(self.queries, K, ef, 1)

    def ids(self, raw):
        return raw[0].astype(np.int64)


class Svs(Library):
    package = "scalable-vs"
    BITS = {"svs-lvq8": (8, 0), "svs-lvq4x8": (4, 8)}

    def prepare(self):
        # The library ends the process on other processors, with a sentence on stderr, so it is asked before.
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            vendor = next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "unknown")
        if vendor != "GenuineIntel":
            raise Unusable(f"the LVQ of SVS runs on Intel's processors only; this one is {vendor}")
        import svs

        self.svs = svs

    def loader(self, file, dimension):
        primary, residual = self.BITS[self.name]
        data = self.svs.VectorDataLoader(file, self.svs.float32, dims=dimension)
        return self.svs.LVQLoader(data, primary=primary, residual=residual, padding=32)

    def build(self, base):
        svs = self.svs
        file = os.path.join(self.folder, "base.svs")
        vectors = os.path.join(self.folder, "base.fvecs")
        svs.write_vecs(base, vectors)
        svs.convert_vecs_to_svs(vectors, file, svs.float32)
        os.remove(vectors)
        self.started()
        parameters = svs.VamanaBuildParameters(
            graph_max_degree=DEGREE, window_size=EF_CONSTRUCTION, alpha=0.95 if self.cosine else 1.2
        )
        distance = svs.DistanceType.MIP if self.cosine else svs.DistanceType.L2
        self.index = svs.Vamana.build(parameters, self.loader(file, base.shape[1]), distance, num_threads=self.threads)
        self.index.num_threads = 1

    def run(self, ef):
        self.index.search_window_size = ef
        return self.index.search(self.queries, K)

    def ids(self, raw):
        return raw[0].astype(np.int64)


class Glass(Library):
    package = "pyglass-portable"
    note = "AVX2 wheel; graph of f32"

    def prepare(self):
        import glass

        self.glass = glass

    def build(self, base):
        self.glass.set_num_threads(self.threads)
        # The graph serves either distance; euclid has 8-bit kernels of its own, on WordNet half again as fast.
        graph = self.glass.Index("HNSW", "IP" if self.cosine else "L2", "FP32", R=DEGREE, L=EF_CONSTRUCTION).build(base)
        self.index = self.glass.Searcher(graph, base, "L2", "SQ8U", "FP32")
        self.index.set_ef(64)
        self.index.optimize(1)

    def run(self, ef):
        self.index.set_ef(ef)
        return self.index.batch_search(self.queries, K, 1)

    def ids(self, raw):
        return raw[0].astype(np.int64)


class Vsag(Library):
    package = "pyvsag"
    per_query_call = True
    note = "HGraph, reordered by f32"

    def prepare(self):
        import pyvsag

        pyvsag.set_logger_off()
        self.module = pyvsag

    def build(self, base):
        count, dimension = base.shape
        parameters = {
            "dtype": "float32",
            "metric_type": "l2",
            "dim": dimension,
            "index_param": {
                # One scale for all components, as the library's own benchmarks have it: faster than "sq8".
                "base_quantization_type": "sq8_uniform",
                "max_degree": DEGREE,
                "ef_construction": EF_CONSTRUCTION,
                "use_reorder": True,
                "precise_quantization_type": "fp32",
                "build_thread_count": self.threads,
            },
        }
        self.index = self.module.Index("hgraph", json.dumps(parameters))
        self.index.build(base.reshape(-1), np.arange(count, dtype=np.int64), count, dimension)

    def run(self, ef):
        search, parameters = self.index.knn_search, json.dumps({"hgraph": {"ef_search": ef}})
        return [search(query, K, parameters) for query in self.queries]

    def ids(self, raw):
        return padded([row[0] for row in raw])


class Qdrant(Library):
    package = "qdrant-edge-py"
    note = "one segment, no log; codes with rescoring"
    stored = True

    def prepare(self):
        import qdrant_edge

        self.module = qdrant_edge

    def config(self, dimension):
        q = self.module
        codes = {
            "qdrant-f32": None,
            "qdrant-sq8": q.ScalarQuantizationConfig(type=q.ScalarType.Int8, quantile=0.99, always_ram=True),
            "qdrant-tq4": q.TurboQuantQuantizationConfig(bits=q.TurboQuantBitSize.Bits4, always_ram=True),
        }[self.name]
        vectors = q.EdgeVectorParams(
            size=dimension, distance=q.Distance.Dot if self.cosine else q.Distance.Euclid, quantization_config=codes
        )
        return q.EdgeConfig(
            vectors=vectors,
            hnsw_config=q.HnswIndexConfig(
                m=M, ef_construct=EF_CONSTRUCTION, full_scan_threshold=10, max_indexing_threads=self.threads
            ),
            # One segment, as the others have one graph.
            optimizers=q.EdgeOptimizersConfig(
                default_segment_number=1, max_segment_size=1 << 30, indexing_threshold=1
            ),
            max_search_threads=1,
            search_pool_core=self.cpu,
            wal_enabled=False,
        )

    def path(self):
        return os.path.join(self.folder, "shard")

    def build(self, base):
        q = self.module
        shard = q.EdgeShard.create(self.path(), self.config(base.shape[1]))
        step = 2_000
        for start in range(0, len(base), step):
            rows = base[start : start + step].tolist()
            points = [q.Point(start + at, row) for at, row in enumerate(rows)]
            shard.update(q.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, count):
        self.shard = self.module.EdgeShard.load(self.path())
        self.plain = [self.module.Query.Nearest(row) for row in self.queries.tolist()]

    def run(self, ef):
        q = self.module
        codes = None
        if self.name != "qdrant-f32":
            # Twice the answers are computed anew by f32, fewer where ef is smaller: without, 0.99 is never reached.
            codes = q.QuantizationSearchParams(rescore=True, oversampling=min(2.0, max(1.0, ef / K)))
        parameters = q.SearchParams(hnsw_ef=ef, quantization=codes)
        requests = [q.QueryRequest(limit=K, query=query, params=parameters) for query in self.plain]
        return self.shard.query_batch(q.QueryBatchRequest(requests))

    def ids(self, raw):
        return padded([[point.id for point in row] for row in raw])


class Ngt(Library):
    package = "ngt"

    def prepare(self):
        # Its wheel searches a quantized graph but builds none, and no registry has the `qbg` command, which does.
        raise Unusable(
            "the wheel of ngt searches a quantized graph but cannot build one: that takes the command qbg of its source"
        )


class Zvec(Library):
    package = "zvec"
    note = "8-bit codes; from ef 60 on, twice the answers are computed anew by f32"
    per_query_call = True
    stored = True

    def prepare(self):
        import zvec

        self.module = zvec
        zvec.init(query_threads=1, optimize_threads=self.threads, log_level=zvec.LogLevel.ERROR)

    def path(self):
        return os.path.join(self.folder, "collection")

    def build(self, base):
        z = self.module
        metric = z.MetricType.IP if self.cosine else z.MetricType.L2
        index = z.HnswIndexParam(
            metric_type=metric,
            m=M,
            ef_construction=EF_CONSTRUCTION,
            quantize_type=z.QuantizeType.INT8,
            use_contiguous_memory=True,
            use_flat_contiguous_memory=True,
        )
        schema = z.CollectionSchema(
            name="peers", vectors=z.VectorSchema("v", z.DataType.VECTOR_FP32, base.shape[1], index_param=index)
        )
        collection = z.create_and_open(self.path(), schema)
        step = 1_000
        for start in range(0, len(base), step):
            rows = base[start : start + step]
            answers = collection.insert([z.Doc(id=str(start + at), vectors={"v": row}) for at, row in enumerate(rows)])
            failed = next((answer for answer in answers if not answer.ok()), None)
            if failed is not None:
                raise RuntimeError(f"insert: {failed.message()}")
        collection.optimize(z.OptimizeOption(concurrency=self.threads))
        collection.flush()
        collection.close()

    def open(self, count):
        z = self.module
        self.collection = z.open(self.path(), z.CollectionOption(read_only=True, enable_mmap=False))

    def run(self, ef):
        z = self.module
        # Refining costs more than it gains at low recall, and is what gets beyond 0.99.
        parameters = z.HnswQueryParam(ef=ef, is_using_refiner=ef >= 60, scale_factor=2.0)
        search = self.collection.query_internal_ids
        return [search(z.Query("v", vector=query, param=parameters), topk=K) for query in self.queries]

    def ids(self, raw):
        inner = np.concatenate(raw)
        keys = self.collection.resolve_internal_ids(inner)
        return np.array([-1 if key is None else int(key) for key in keys], dtype=np.int64).reshape(len(raw), -1)


def padded(rows):
    """Rows of up to K ids as a matrix."""
    ids = np.full((len(rows), K), -1, dtype=np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row[:K]
    return ids


LIBRARIES = {
    "hnswlib": Hnswlib,
    "faiss-flat": Faiss,
    "faiss-sq8": Faiss,
    "faiss-bf16": Faiss,
    "usearch-f32": Usearch,
    "usearch-i8": Usearch,
    "qdrant-f32": Qdrant,
    "qdrant-sq8": Qdrant,
    "qdrant-tq4": Qdrant,
    "vsag-sq8": Vsag,
    "svs-lvq8": Svs,
    "svs-lvq4x8": Svs,
    "glass-sq8u": Glass,
    "symqg-0": Symqg,
    "symqg-8": Symqg,
    "ngt-qg": Ngt,
    "zvec": Zvec,
}
