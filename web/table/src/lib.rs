//! Tables of reviews: read from files of several formats, kept in memory with their ratings,
//! sorted, filtered and searched, and written with the ratings as additional columns.
//!
//! For the page it runs in a worker (`web/table/worker`), so that the page's thread holds only what
//! it shows. A [`Reader`] converts slices of a file into a [`Table`]. A [`Board`] holds the table
//! with its ratings and answers the page's requests.

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
pub use write::quotes_of_header;
