"""mem0: its vector store, as its memory drives it. The model that extracts memories would have to be downloaded."""

import uuid

from mem0.vector_stores.qdrant import Qdrant
from qdrant_client import QdrantClient

from .embeddings import DIMENSION, WordCounts, embed


def run(url: str) -> None:
    client = QdrantClient(url)
    # Twice: it makes its collection and its four indexes at every start.
    for _ in range(2):
        store = Qdrant("memories", DIMENSION, client=client)
    store._bm25_encoder = WordCounts()
    facts = ["Ada likes green tea", "Ada lives in Berlin", "Bob plays chess"]
    ids = [str(uuid.uuid4()) for _ in facts]
    payloads = [{"data": fact, "user_id": fact.split()[0].lower()} for fact in facts]
    store.insert([embed(fact) for fact in facts], payloads, ids)
    found = store.search("what tea", embed("likes which tea"), top_k=2, filters={"user_id": "ada"})
    assert [hit.id for hit in found][0] == ids[0] and len(found) == 2, found
    found = store.keyword_search("green tea", top_k=2, filters={"user_id": "ada"})
    assert [hit.id for hit in found] == [ids[0]], found
    store.update(ids[0], embed("Ada likes black coffee"), {"data": "Ada likes black coffee", "user_id": "ada"})
    assert store.get(ids[0]).payload["data"] == "Ada likes black coffee"
    assert store.keyword_search("green tea") == [] and store.keyword_search("coffee")[0].id == ids[0]
    store.delete(ids[1])
    rest = store.list(filters={"user_id": "ada"}, top_k=10)[0]
    assert [record.id for record in rest] == [ids[0]], rest
    store.delete_col()
    assert "memories" not in [c.name for c in client.get_collections().collections]
