//! The bundle that a run publishes: its files, its manifest and its model card.

pub mod card;
pub mod copy;
pub mod package;
