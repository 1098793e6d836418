"""The same generated operations against QdrantClient(":memory:") and against Engram, answer by answer."""
