//! Starsight's trainer: what the program `starsight` does, as a library.

// A print that panics where nothing can be written would lose the work: `out!` and `say!` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
pub mod print;

pub mod agreement;
pub mod base;
pub mod bench;
pub mod bootstrap;
pub mod breakdown;
pub mod calibration;
pub mod card;
pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod device;
pub mod evaluation;
pub mod files;
pub mod fresh;
pub mod hub;
pub mod inherit;
pub mod interrupt;
pub mod limits;
pub mod memory;
pub mod package;
pub mod pieces;
pub mod progress;
pub mod rating;
pub mod report;
pub mod serve;
pub mod site;
pub mod source;
pub mod starter;
pub mod survey;
pub mod tokens;
pub mod train;
pub mod trim;
pub mod verify;
pub mod wordpiece;
