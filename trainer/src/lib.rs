//! Starsight's trainer: what the program `starsight` does, as a library.

// A print that panics where nothing can be written would lose the work: `out!` and `say!` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
pub mod print;

pub mod bundle;
pub mod cli;
pub mod commands;
pub mod data;
pub mod evaluate;
pub mod hub;
pub mod model;
pub mod rate;
pub mod report;
pub mod site;
pub mod system;
pub mod train;
