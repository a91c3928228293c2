//! Rating many reviews, the devices that compute the ratings, and measuring how fast.

pub mod bench;
pub mod device;
pub mod rating;
