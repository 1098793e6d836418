"""mcp-server-qdrant: what its two tools do, through the connector they use."""

import asyncio

from mcp_server_qdrant.embeddings.base import EmbeddingProvider
from mcp_server_qdrant.qdrant import Entry, QdrantConnector
from qdrant_client import models

from .embeddings import DIMENSION, embed


class WordEmbeddings(EmbeddingProvider):
    """Embeddings of this folder."""

    async def embed_documents(self, documents: list[str]) -> list[list[float]]:
        return [embed(document) for document in documents]

    async def embed_query(self, query: str) -> list[float]:
        return embed(query)

    def get_vector_name(self) -> str:
        return "words"

    def get_vector_size(self) -> int:
        return DIMENSION


async def talk(url: str) -> None:
    indexes = {"metadata.topic": models.PayloadSchemaType.KEYWORD}
    connector = QdrantConnector(url, None, "notes", WordEmbeddings(), field_indexes=indexes)
    assert await connector.search("anything") == []
    await connector.store(Entry(content="rust forbids data races", metadata={"topic": "rust"}))
    await connector.store(Entry(content="python counts references", metadata={"topic": "python"}))
    found = await connector.search("what forbids data races", limit=1)
    assert found[0].metadata == {"topic": "rust"}
    assert "notes" in await connector.get_collection_names()


def run(url: str) -> None:
    asyncio.run(talk(url))
