//! Publishing to a Hub and fetching back, and what goes wrong on the way. The Hub is small, but real: it runs on loopback, and this program and hf-hub talk to it.

#[path = "../common/mod.rs"]
mod common;
#[path = "../loopback_hub/mod.rs"]
mod loopback_hub;

mod command_line;
mod fetch;
mod large_files;
mod publish;
mod scene;
