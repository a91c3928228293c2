//! Converts bytes to UTF-8.
//!
//! UTF-16 is recognised by its byte order mark and converted at once. In any other encoding, cells
//! are stored as bytes first. This is correct for every encoding that uses ASCII's bytes for
//! separators, quotation marks and line breaks. Then [`decode_columns`] converts them to text. It
//! decides byte by byte: files written by several programs contain UTF-8 and Windows-1252 side by
//! side, and reading all of such a file as one of the two would corrupt it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use encoding_rs::{Decoder, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::protocol::{Encoding, Fault};
use crate::read::Problems;
use crate::table::Column;

/// Removes a byte order mark, and converts UTF-16 to UTF-8.
pub struct Input {
    state: InputState,
    /// Whether there was a byte order mark.
    pub has_mark: bool,
}

enum InputState {
    /// The first bytes, as long as they are too few to decide.
    Start(Vec<u8>),
    Plain,
    Utf16(Decoder),
}

impl Input {
    pub fn new() -> Input {
        Input {
            state: InputState::Start(Vec::new()),
            has_mark: false,
        }
    }

    pub fn is_utf16(&self) -> bool {
        matches!(self.state, InputState::Utf16(_))
    }

    /// Passes the text in the next `bytes` to `take`, in one or several pieces. `last` says that no
    /// more bytes follow.
    pub fn read(&mut self, bytes: &[u8], last: bool, mut take: impl FnMut(&[u8])) {
        let InputState::Start(first) = &mut self.state else {
            return self.decode(bytes, last, take);
        };
        first.extend_from_slice(bytes);
        // The longest mark has three bytes.
        if first.len() < 3 && !last {
            return;
        }
        let first = std::mem::take(first);
        let (state, mark) = match first.as_slice() {
            [0xff, 0xfe, ..] => (
                InputState::Utf16(UTF_16LE.new_decoder_without_bom_handling()),
                2,
            ),
            [0xfe, 0xff, ..] => (
                InputState::Utf16(UTF_16BE.new_decoder_without_bom_handling()),
                2,
            ),
            [0xef, 0xbb, 0xbf, ..] => (InputState::Plain, 3),
            _ => (InputState::Plain, 0),
        };
        (self.state, self.has_mark) = (state, mark > 0);
        self.decode(&first[mark..], last, &mut take);
    }

    fn decode(&mut self, mut bytes: &[u8], last: bool, mut take: impl FnMut(&[u8])) {
        let InputState::Utf16(decoder) = &mut self.state else {
            return take(bytes);
        };
        let mut text = [0; 1 << 14];
        loop {
            let (result, read, written, _) = decoder.decode_to_utf8(bytes, &mut text, last);
            take(&text[..written]);
            bytes = &bytes[read..];
            if result == encoding_rs::CoderResult::InputEmpty {
                return;
            }
        }
    }
}

/// Decodes bytes: valid UTF-8 is kept, and each invalid byte is read as Windows-1252.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&WINDOWS_1252.decode_without_bom_handling(chunk.invalid()).0);
    }
    Cow::Owned(text)
}

/// Records evidence for UTF-8 and for Windows-1252.
#[derive(Default)]
pub struct EncodingStats {
    has_utf8: bool,
    has_other: bool,
}

impl EncodingStats {
    /// Records some bytes, and returns whether all of them are UTF-8.
    pub fn is_utf8(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_ascii() {
            return true;
        }
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        *if is_utf8 {
            &mut self.has_utf8
        } else {
            &mut self.has_other
        } = true;
        is_utf8
    }

    /// The file's encoding: Windows-1252 if it has bytes that are not UTF-8 and nothing that is
    /// UTF-8 beyond ASCII.
    pub fn encoding(&self) -> Encoding {
        if self.has_other && !self.has_utf8 {
            Encoding::Windows1252
        } else {
            Encoding::Utf8
        }
    }
}

/// Names the columns, converts cells that are not UTF-8, and returns the encoding. Rows with such
/// cells are added to `problems`.
pub fn decode_columns(
    columns: &mut [Column],
    names: &[Vec<u8>],
    problems: &mut Problems,
) -> Encoding {
    let mut stats = EncodingStats::default();
    let mut other_rows = BTreeSet::new();
    for (column, name) in columns.iter_mut().zip(names) {
        stats.is_utf8(name);
        let other: Vec<usize> = (0..column.len())
            .filter(|row| !stats.is_utf8(column.raw(*row)))
            .collect();
        if !other.is_empty() {
            *column = column.map(|cell| text(cell).into_owned());
        }
        other_rows.extend(other);
        column.name = text(name).into_owned();
    }
    other_rows
        .into_iter()
        .for_each(|row| problems.note(Fault::NotUtf8, row + 1));
    stats.encoding()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::CellKind;

    /// The encoding, the cells as text, and the rows that are not UTF-8.
    fn settled(cells: &[&[u8]]) -> (Encoding, Vec<String>, Vec<usize>) {
        let mut columns = [Column::new("", CellKind::Text)];
        cells.iter().for_each(|cell| columns[0].push(cell));
        let mut problems = Problems::default();
        let encoding = decode_columns(&mut columns, &[b"plain".to_vec()], &mut problems);
        let other = problems
            .list()
            .into_iter()
            .filter(|problem| problem.fault == Fault::NotUtf8)
            .flat_map(|problem| problem.first)
            .collect();
        (
            encoding,
            (0..cells.len())
                .map(|row| columns[0].text(row).into_owned())
                .collect(),
            other,
        )
    }

    #[test]
    fn what_is_not_utf8_is_read_as_windows_1252_cell_by_cell() {
        assert_eq!(
            settled(&[b"plain", "très 😍".as_bytes()]),
            (
                Encoding::Utf8,
                vec!["plain".into(), "très 😍".into()],
                vec![]
            )
        );
        assert_eq!(
            settled(&[b"tr\xe8s", b"\x80 5 \x93x\x94"]),
            (
                Encoding::Windows1252,
                vec!["très".into(), "€ 5 “x”".into()],
                vec![1, 2]
            )
        );
        // One emoji among many Latin-1 cells is kept, and so is one Latin-1 cell among many emoji,
        // even within a cell.
        assert_eq!(
            settled(&[b"tr\xe8s", b"\xe9t\xe9", "😍".as_bytes(), b"ma\xf1ana"]),
            (
                Encoding::Utf8,
                vec!["très".into(), "été".into(), "😍".into(), "mañana".into()],
                vec![1, 2, 4]
            )
        );
        assert_eq!(
            settled(&[
                "😍".as_bytes(),
                "été".as_bytes(),
                b"\xf0\x9f\x98\x8d tr\xe8s"
            ]),
            (
                Encoding::Utf8,
                vec!["😍".into(), "été".into(), "😍 très".into()],
                vec![3]
            )
        );
    }

    #[test]
    fn marks_are_taken_away_however_the_bytes_come() {
        let utf16 = |order: fn(u16) -> [u8; 2]| {
            "\u{feff}é😍,"
                .encode_utf16()
                .flat_map(order)
                .collect::<Vec<u8>>()
        };
        for (bytes, is_utf16) in [
            ("\u{feff}é😍,".as_bytes().to_vec(), false),
            (utf16(u16::to_le_bytes), true),
            (utf16(u16::to_be_bytes), true),
        ] {
            for piece in [1, 2, 3, 5, 100] {
                let (mut input, mut out) = (Input::new(), Vec::new());
                let mut take = |text: &[u8]| out.extend_from_slice(text);
                bytes
                    .chunks(piece)
                    .for_each(|piece| input.read(piece, false, &mut take));
                input.read(&[], true, &mut take);
                assert_eq!(
                    (
                        String::from_utf8(out).unwrap().as_str(),
                        input.has_mark,
                        input.is_utf16()
                    ),
                    ("é😍,", true, is_utf16)
                );
            }
        }
    }
}
