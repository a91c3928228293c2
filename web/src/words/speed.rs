//! How fast it rates.

pub const TITLE: &str = "How fast this device rates";
