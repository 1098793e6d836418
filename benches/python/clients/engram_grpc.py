"""Engram by its gRPC API, with stubs that grpcio-tools makes of the `.proto` files of this tree."""

import importlib
import pathlib
import sys

from clients.process import Missing


class Database:
    """The server that the benchmark has started and loaded."""

    name = "engram"
    # Its own recall target holds.
    efforts = (None,)

    def __init__(self, job, folder):
        self.job, self.stubs = job, folder / "stubs"

    def start(self):
        try:
            import grpc
            from grpc_tools import protoc
        except ImportError as error:
            raise Missing(f"grpcio and grpcio-tools are not installed: {error}") from error
        self.stubs.mkdir()
        proto = pathlib.Path(self.job["proto"])
        files = [str(path) for path in sorted(proto.glob("engram/v1/*.proto"))]
        out = [f"--python_out={self.stubs}", f"--grpc_python_out={self.stubs}"]
        if protoc.main(["protoc", f"-I{proto}", *out, *files]) != 0:
            raise Missing("grpcio-tools cannot make stubs of the .proto files")
        self.version = f"this tree, grpcio {grpc.__version__}"

    def load(self, ids, vectors):
        """It is loaded already."""
        return None

    def settings(self, effort):
        return self.job["settings"]

    def target(self, effort):
        job = self.job
        return {"address": job["engram"], "stubs": str(self.stubs), "collection": job["collection"], "ef": job["ef"]}

    def stop(self):
        """It is not ours to stop."""


class Session:
    """One client: a channel of its own, one call at a time."""

    def __init__(self, target):
        import grpc

        sys.path.insert(0, target["stubs"])
        points = importlib.import_module("engram.v1.points_pb2")
        types = importlib.import_module("engram.v1.types_pb2")
        services = importlib.import_module("engram.v1.points_pb2_grpc")
        self.search_request, self.vector = points.SearchRequest, types.Vector
        self.collection, self.params = target["collection"], points.SearchParams(ef=target["ef"] or 0)
        # Channels of one process to one address would share a connection otherwise.
        self.channel = grpc.insecure_channel(target["address"], [("grpc.use_local_subchannel_pool", 1)])
        self.stub = services.PointsStub(self.channel)

    def search(self, query, k):
        vector = self.vector(f32le=query.tobytes())
        asked = self.search_request(collection=self.collection, vector=vector, k=k, params=self.params)
        answer = self.stub.Search(asked)
        return [hit.point.id.num for hit in answer.hits]

    def close(self):
        self.channel.close()
