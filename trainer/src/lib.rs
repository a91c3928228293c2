//! Starsight's trainer: the commands of the program `starsight`, as a library.

// `println!` panics if it cannot write, which would lose the work; `out!` and `say!` do not panic.
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
