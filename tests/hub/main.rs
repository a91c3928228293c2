//! Publishing to a Hub and fetching from it, with the faults on the way. The Hub is a small real
//! server on loopback, used by this program and by hf-hub.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../loopback_hub/mod.rs"]
mod loopback_hub;

mod command_line;
mod fetch;
mod large_files;
mod publish;
mod scene;
