//! Starsight's trainer: what the program `starsight` does, as a library.

pub mod base;
pub mod bench;
pub mod bootstrap;
pub mod breakdown;
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
pub mod interrupt;
pub mod package;
pub mod progress;
pub mod rating;
pub mod report;
pub mod serve;
pub mod site;
pub mod source;
pub mod tokens;
pub mod train;
pub mod verify;
pub mod wordpiece;
