//! From bytes to UTF-8.
//!
//! A byte order mark tells UTF-16 from the first bytes on. Whether the rest is UTF-8 only its last byte tells, so cells are kept as they come, which is right for every encoding
//! that has ASCII's bytes for separators, quotation marks and line breaks; then [`settle`] decides for all of them.

use encoding_rs::{Decoder, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::protocol::Encoding;
use crate::table::Column;

/// Takes a byte order mark away, and turns UTF-16 into UTF-8.
pub struct Input {
    state: State,
    /// Whether there was a byte order mark.
    pub has_mark: bool,
}

enum State {
    /// The first bytes, too few to tell.
    Start(Vec<u8>),
    Plain,
    Utf16(Decoder),
}

impl Input {
    pub fn new() -> Input {
        Input { state: State::Start(Vec::new()), has_mark: false }
    }

    pub fn is_utf16(&self) -> bool {
        matches!(self.state, State::Utf16(_))
    }

    /// The text in the next `bytes`, handed to `take` in one piece or several; `last` if no more come.
    pub fn read(&mut self, bytes: &[u8], last: bool, mut take: impl FnMut(&[u8])) {
        let State::Start(first) = &mut self.state else { return self.decode(bytes, last, take) };
        first.extend_from_slice(bytes);
        // The longest mark has three bytes.
        if first.len() < 3 && !last {
            return;
        }
        let first = std::mem::take(first);
        let (state, mark) = match first.as_slice() {
            [0xff, 0xfe, ..] => (State::Utf16(UTF_16LE.new_decoder_without_bom_handling()), 2),
            [0xfe, 0xff, ..] => (State::Utf16(UTF_16BE.new_decoder_without_bom_handling()), 2),
            [0xef, 0xbb, 0xbf, ..] => (State::Plain, 3),
            _ => (State::Plain, 0),
        };
        (self.state, self.has_mark) = (state, mark > 0);
        self.decode(&first[mark..], last, &mut take)
    }

    fn decode(&mut self, mut bytes: &[u8], last: bool, mut take: impl FnMut(&[u8])) {
        let State::Utf16(decoder) = &mut self.state else { return take(bytes) };
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

/// Names the columns, makes them UTF-8 if they are not, and tells what they were: Windows-1252, or UTF-8 with some bytes broken, whichever more cells speak for.
pub fn settle(columns: &mut [Column], names: &[Vec<u8>]) -> Encoding {
    let (mut valid, mut invalid) = (0, 0);
    let cells = columns.iter().flat_map(|column| (0..column.len()).map(|row| column.raw(row)));
    for cell in names.iter().map(Vec::as_slice).chain(cells).filter(|cell| !cell.is_ascii()) {
        *if std::str::from_utf8(cell).is_ok() { &mut valid } else { &mut invalid } += 1;
    }
    let (encoding, codec) = match (valid, invalid) {
        (_, 0) => (Encoding::Utf8, UTF_8),
        _ if valid > invalid => (Encoding::BrokenUtf8, UTF_8),
        _ => (Encoding::Windows1252, WINDOWS_1252),
    };
    let text = |bytes: &[u8]| codec.decode_without_bom_handling(bytes).0.into_owned();
    for (column, name) in columns.iter_mut().zip(names) {
        if invalid > 0 {
            *column = column.map(text);
        }
        column.name = text(name);
    }
    encoding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Kind;

    fn settled(cells: &[&[u8]]) -> (Encoding, Vec<String>) {
        let mut columns = [Column::new("", Kind::Text)];
        cells.iter().for_each(|cell| columns[0].push(cell));
        let encoding = settle(&mut columns, &[b"caf\xc3\xa9".to_vec()]);
        (encoding, (0..cells.len()).map(|row| columns[0].text(row).into_owned()).collect())
    }

    #[test]
    fn what_is_not_utf8_is_windows_1252_or_broken() {
        assert_eq!(settled(&[b"plain", "très 😍".as_bytes()]), (Encoding::Utf8, vec!["plain".into(), "très 😍".into()]));
        assert_eq!(settled(&[b"tr\xe8s", b"\x80 5 \x93x\x94"]), (Encoding::Windows1252, vec!["très".into(), "€ 5 “x”".into()]));
        assert_eq!(settled(&["très".as_bytes(), b"cut \xf0\x9f\x98"]), (Encoding::BrokenUtf8, vec!["très".into(), "cut \u{fffd}".into()]));
    }

    #[test]
    fn marks_are_taken_away_however_the_bytes_come() {
        let utf16 = |order: fn(u16) -> [u8; 2]| "\u{feff}é😍,".encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for (bytes, is_utf16) in [("\u{feff}é😍,".as_bytes().to_vec(), false), (utf16(u16::to_le_bytes), true), (utf16(u16::to_be_bytes), true)] {
            for piece in [1, 2, 3, 5, 100] {
                let (mut input, mut out) = (Input::new(), Vec::new());
                let mut take = |text: &[u8]| out.extend_from_slice(text);
                bytes.chunks(piece).for_each(|piece| input.read(piece, false, &mut take));
                input.read(&[], true, &mut take);
                assert_eq!((String::from_utf8(out).unwrap().as_str(), input.has_mark, input.is_utf16()), ("é😍,", true, is_utf16));
            }
        }
    }
}
