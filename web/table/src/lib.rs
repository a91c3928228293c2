//! Tables of reviews, as the page needs them: read from files of several kinds, kept in memory beside their ratings, sorted, filtered and searched, and written again with the ratings
//! as columns of their own.
//!
//! It runs in a worker of the page's (`web/table/worker`), so that the page's thread holds no more than what it shows. A file goes, in slices, through a [`Reader`] into a [`Table`];
//! a [`Board`] keeps the table with its ratings and answers what the page asks.

mod board;
mod columns;
mod encoding;
mod error;
mod order;
pub mod protocol;
mod ratings;
mod read;
mod summary;
mod table;
mod write;

pub use board::Board;
pub use error::Error;
pub use read::{Reader, TextReader};
pub use table::{CellKind, Column, Table};
