"""VectorDBBench against a server of its own, by its client of Qdrant; see `benches/run vectordbbench`."""
