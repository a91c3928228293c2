//! The built site in headless Chromium.
//!
//! Needs Chromium, its driver, and the page built into the program: `cargo xtask test` sets up all
//! three.

#![allow(
    clippy::too_many_lines,
    reason = "a test is one visit to the page, whose start costs seconds"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../loopback_hub/mod.rs"]
mod loopback_hub;

mod craft;
mod delivery;
mod devtools;
mod element;
mod hosts;
mod integrity;
mod many;
mod measured;
mod model;
mod offline;
mod rate_one;
mod rating;
mod scene;
mod speed;
mod workers;
