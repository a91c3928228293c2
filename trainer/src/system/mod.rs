//! The operating system: files that are never half written, interruption, memory, progress.

pub mod files;
pub mod interrupt;
pub mod memory;
pub mod progress;
