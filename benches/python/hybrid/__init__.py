"""Dense, BM25 and fused searches of Engram beside the same computed by brute force outside it; see `benches/run hybrid`."""
