"""Chroma: its own server process and its HTTP client."""

import pathlib
import sys

from clients.process import Missing, Server, free_port

LINKS, EF_CONSTRUCTION = 16, 200
SPACES = {"cosine": "cosine", "euclid": "l2", "dot": "ip"}
COLLECTION = "bench"


class Database:
    """A server over a folder of its own."""

    name = "chroma"
    efforts = (40, 60, 80, 100, 120, 160, 200, 280, 400)

    def __init__(self, job, folder):
        self.job, self.folder, self.server = job, folder, None

    def start(self):
        try:
            import chromadb
        except ImportError as error:
            raise Missing(f"chromadb is not installed: {error}") from error
        if self.job["metric"] not in SPACES:
            raise Missing(f"not measured with {self.job['metric']}")
        program = pathlib.Path(sys.executable).parent / "chroma"
        self.port = free_port()
        command = [program, "run", "--path", self.folder / "chroma", "--host", "127.0.0.1", "--port", str(self.port)]
        self.server = Server(command, self.folder / "chroma.log", cwd=self.folder)
        self.client = self.server.wait_until(self.answers)
        self.version = f"chromadb {chromadb.__version__}"

    def answers(self):
        try:
            client = connect(self.port)
            client.heartbeat()
            return client
        except Exception:  # What the client raises before its server is there is not one thing.
            return None

    def load(self, ids, vectors):
        hnsw = {"space": SPACES[self.job["metric"]], "max_neighbors": LINKS, "ef_construction": EF_CONSTRUCTION}
        hnsw["ef_search"] = self.efforts[0]
        made = self.client.create_collection(COLLECTION, configuration={"hnsw": hnsw}, embedding_function=None)
        most = self.client.get_max_batch_size()
        for start in range(0, len(ids), most):
            part = slice(start, start + most)
            made.add(ids=[str(id) for id in ids[part].tolist()], embeddings=vectors[part])

    def settings(self, effort):
        return f"HNSW max_neighbors {LINKS}, ef_construction {EF_CONSTRUCTION}, ef_search {effort}; ids only"

    def target(self, effort):
        collection = self.client.get_collection(COLLECTION, embedding_function=None)
        collection.modify(configuration={"hnsw": {"ef_search": effort}})
        return {"port": self.port}

    def stop(self):
        if self.server:
            self.server.stop()


class Session:
    """One client: an HTTP client of its own."""

    def __init__(self, target):
        self.client = connect(target["port"])
        self.collection = self.client.get_collection(COLLECTION, embedding_function=None)

    def search(self, query, k):
        answer = self.collection.query(query_embeddings=[query], n_results=k, include=[])
        return [int(id) for id in answer["ids"][0]]

    def close(self):
        """It keeps nothing that would have to be closed."""


def connect(port):
    import chromadb
    from chromadb.config import Settings

    return chromadb.HttpClient(host="127.0.0.1", port=port, settings=Settings(anonymized_telemetry=False))
