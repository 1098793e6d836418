//! The whole system, from outside: API, durability, erasure, models, and the rules of the house.
//!
//! One binary of all of them: each one more would link the whole stack again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

mod api;
mod architecture;
mod dependencies;
mod durability;
mod erasure;
mod interop;
mod model;
