//! Engram.
