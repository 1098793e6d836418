"""Haystack: documents written, retrieved, filtered, counted and deleted."""

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

from .embeddings import DIMENSION, embed


def run(url: str) -> None:
    store = QdrantDocumentStore(
        url=url, index="haystack", embedding_dim=DIMENSION, recreate_index=True, return_embedding=True, wait_result_from_api=True
    )
    texts = {"the moon is bright": "sky", "the sea is deep": "water", "the lake is calm": "water"}
    documents = [Document(content=text, embedding=embed(text), meta={"place": place}) for text, place in texts.items()]
    assert store.write_documents(documents, policy=DuplicatePolicy.OVERWRITE) == 3
    retriever = QdrantEmbeddingRetriever(document_store=store, top_k=2)
    found = retriever.run(query_embedding=embed("how deep is the sea"))["documents"]
    assert found[0].content == "the sea is deep"
    water = {"field": "meta.place", "operator": "==", "value": "water"}
    assert {d.meta["place"] for d in store.filter_documents(water)} == {"water"}
    store.delete_documents([documents[0].id])
    assert store.count_documents() == 2
    store.delete_all_documents()
    assert store.count_documents() == 0
