//! The operating system: files that are never half written, interrupts, memory, progress.

pub mod files;
pub mod interrupt;
pub mod memory;
pub mod progress;
