"""The quick start of each integration, against Engram at a URL. Embeddings are made here: no model is downloaded."""
