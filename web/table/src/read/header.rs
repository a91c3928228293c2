//! Detects whether the first line of a file names its columns.

use crate::columns::{LABEL_NAMES, TEXT_NAMES, is_named};

/// The largest length of a name, in bytes.
const LONGEST: usize = 48;

/// The largest number of words of a name; more are a sentence.
const MOST_WORDS: usize = 4;

/// Whether these cells look like names rather than data: short, and none of them a number.
pub fn is_header(cells: &[Vec<u8>]) -> bool {
    let texts: Vec<_> = cells
        .iter()
        .map(|cell| String::from_utf8_lossy(cell))
        .collect();
    if texts
        .iter()
        .any(|text| is_named(text, &TEXT_NAMES) || is_named(text, &LABEL_NAMES))
    {
        return true;
    }
    let is_name = |text: &str| {
        let words = text.split_whitespace().count();
        text.len() <= LONGEST
            && words <= MOST_WORDS
            && !text.contains('\n')
            && text.trim().parse::<f64>().is_err()
    };
    // One column may be without a name, such as the column of row numbers. A single column must be
    // one word.
    let nameless = texts.iter().filter(|text| text.trim().is_empty()).count();
    texts.iter().all(|text| is_name(text))
        && nameless <= 1
        && texts.iter().any(|text| !text.trim().is_empty())
        && (texts.len() > 1 || !texts[0].contains(' '))
}
