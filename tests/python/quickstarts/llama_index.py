"""LlamaIndex: an index over documents, a retriever, metadata filters, a document deleted."""

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.vector_stores import ExactMatchFilter, MetadataFilters
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from .embeddings import embed


class WordEmbedding(BaseEmbedding):
    """Embeddings of this folder."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)


def run(url: str) -> None:
    store = QdrantVectorStore("llama", client=QdrantClient(url))
    context = StorageContext.from_defaults(vector_store=store)
    documents = [
        Document(text="granite is a hard stone", doc_id="granite", metadata={"kind": "stone"}),
        Document(text="oak is a hard wood", doc_id="oak", metadata={"kind": "wood"}),
        Document(text="pine is a soft wood", doc_id="pine", metadata={"kind": "wood"}),
    ]
    index = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=WordEmbedding())
    found = index.as_retriever(similarity_top_k=1).retrieve("which stone is hard")
    assert "granite" in found[0].text, found
    wood = MetadataFilters(filters=[ExactMatchFilter(key="kind", value="wood")])
    found = index.as_retriever(similarity_top_k=5, filters=wood).retrieve("hard stone")
    assert {node.metadata["kind"] for node in found} == {"wood"} and len(found) == 2
    index.delete_ref_doc("oak")
    found = index.as_retriever(similarity_top_k=5).retrieve("wood")
    assert all("oak" not in node.text for node in found) and len(found) == 2
