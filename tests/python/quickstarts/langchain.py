"""LangChain: a vector store, a search with scores, a filter, a retriever with diverse answers."""

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore
from qdrant_client import models

from .embeddings import embed


class WordEmbeddings(Embeddings):
    """Embeddings of this folder."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return embed(text)


def run(url: str) -> None:
    documents = [
        Document(page_content="the cat sleeps on the warm stone", metadata={"animal": "cat", "page": 1}),
        Document(page_content="a dog runs along the river bank", metadata={"animal": "dog", "page": 2}),
        Document(page_content="the river carries cold water", metadata={"animal": "none", "page": 3}),
    ]
    store = QdrantVectorStore.from_documents(documents, WordEmbeddings(), url=url, collection_name="langchain")
    assert store.similarity_search("where does the dog run", k=1)[0].metadata["animal"] == "dog"
    found = store.similarity_search_with_score("cold water of the river", k=2)
    assert found[0][0].metadata["page"] == 3 and found[0][1] > found[1][1]
    only_cats = models.Filter(must=[models.FieldCondition(key="metadata.animal", match=models.MatchValue(value="cat"))])
    assert [d.metadata["animal"] for d in store.similarity_search("river", k=3, filter=only_cats)] == ["cat"]
    diverse = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 3}).invoke("river")
    assert len(diverse) == 2
    ids = store.add_texts(["a bird sings"], metadatas=[{"animal": "bird"}])
    assert store.delete(ids) is True
    assert store.client.count("langchain").count == 3
