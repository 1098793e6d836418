//! A node on free ports in a temporary directory, used through its generated client as any program would.

mod bulk;
mod collections;
mod config;
mod limits;
mod observability;
mod points;
mod retention;
mod running;
mod security;
