//! Reviews in files: reading, dividing, writing.

mod corpus;
mod division;
mod format;
mod numpy;
mod origins;
mod read;
mod reviews;
mod split;
mod table;
mod tables;
mod texts;
mod write;

pub mod survey;
pub mod tokens;

pub use corpus::Corpus;
pub use division::{Dedup, SplitBy, TextKey, text_key};
pub use origins::Origins;
pub use reviews::{Empty, Labels, Reviews};
pub use split::{SPLIT_SEED, Split, SplitName, split};
pub use table::Table;
pub use tables::Tables;
pub use texts::{Texts, Unlabelled};
pub use write::{check_writable, with_columns, write_pending_table, write_table};
