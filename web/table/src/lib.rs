//! Tables of reviews: read from files of several formats, kept in memory with their ratings,
//! sorted, filtered and searched, and written with the ratings as additional columns.
//!
//! For the page it runs in a worker (`web/table/worker`), so that the page's thread holds only what
//! it shows. A [`Reader`] converts slices of a file into a [`Table`]. A [`RatedTable`] holds the
//! table with its ratings and answers the page's requests.

mod columns;
mod encoding;
mod error;
mod order;
pub mod protocol;
mod rated_table;
mod ratings;
mod read;
mod rows;
mod summary;
mod table;
mod write;

pub use error::Error;
pub use rated_table::RatedTable;
pub use read::{Reader, TextReader, has_valid_sizes};
pub use rows::{Cell, RowWriter};
pub use table::{CellKind, Column, Table};
pub use write::rating_columns;
