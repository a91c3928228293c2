//! Where rows come from, for errors: files and places in them.

use std::path::{Path, PathBuf};

/// The files that rows come from, and the place of each row.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    parts: Vec<Part>,
    /// Indices of the rows that are kept, if some were left out.
    kept: Option<Vec<usize>>,
}

/// The rows that were read from one file.
#[derive(Debug, Clone)]
struct Part {
    path: PathBuf,
    /// Number of rows.
    len: usize,
    numbers: Numbers,
}

/// How errors name rows.
#[derive(Debug, Clone)]
pub(super) enum Numbers {
    /// By row number, starting at this one: parquet.
    Rows(u64),
    /// By the line they start on, counted from 1: text files.
    Lines(Vec<u64>),
}

impl Numbers {
    fn unit(&self) -> &'static str {
        match self {
            Numbers::Rows(_) => "row",
            Numbers::Lines(_) => "line",
        }
    }

    fn of(&self, i: usize) -> u64 {
        match self {
            Numbers::Rows(first) => first + i as u64,
            Numbers::Lines(lines) => lines[i],
        }
    }
}

impl Origins {
    /// The origins of `len` rows of the file at `path`.
    pub(super) fn of(path: &Path, len: usize, numbers: Numbers) -> Origins {
        Origins {
            parts: vec![Part {
                path: path.into(),
                len,
                numbers,
            }],
            kept: None,
        }
    }

    /// Number of rows read, including those left out since.
    fn read(&self) -> usize {
        self.parts.iter().map(|part| part.len).sum()
    }

    /// Appends the rows of `next`. Consecutive rows of one file stay one part.
    pub(super) fn append(&mut self, next: Origins) {
        let (before, after) = (self.read(), next.read());
        if next.kept.is_some() && self.kept.is_none() {
            self.kept = Some((0..before).collect());
        }
        if let Some(kept) = &mut self.kept {
            match next.kept {
                Some(rows) => kept.extend(rows.into_iter().map(|row| before + row)),
                None => kept.extend(before..before + after),
            }
        }
        for part in next.parts {
            match (self.parts.last_mut(), part.numbers) {
                (
                    Some(Part {
                        path,
                        len,
                        numbers: Numbers::Rows(_),
                    }),
                    Numbers::Rows(_),
                ) if *path == part.path => *len += part.len,
                (
                    Some(Part {
                        path,
                        len,
                        numbers: Numbers::Lines(lines),
                    }),
                    Numbers::Lines(more),
                ) if *path == part.path => {
                    *len += part.len;
                    lines.extend(more);
                }
                (_, numbers) => self.parts.push(Part { numbers, ..part }),
            }
        }
    }

    /// Leaves out all rows but those of the given indices, ascending.
    pub(super) fn keep(&mut self, indices: &[usize]) {
        self.kept = Some(match &self.kept {
            Some(kept) => indices.iter().map(|i| kept[*i]).collect(),
            None => indices.to_vec(),
        });
    }

    /// Name of all files: the path of the file, or of the first of several.
    pub fn name(&self) -> String {
        match &self.parts[..] {
            [] => "no file".into(),
            [part] => part.path.display().to_string(),
            [first, rest @ ..] => format!("{} and {} more", first.path.display(), rest.len()),
        }
    }

    /// The part of row `i`, and its number there.
    fn find(&self, i: usize) -> (&Part, u64) {
        let mut row = self.kept.as_ref().map_or(i, |kept| kept[i]);
        let mut part = &self.parts[0];
        for next in &self.parts[1..] {
            if row < part.len {
                break;
            }
            row -= part.len;
            part = next;
        }
        (part, part.numbers.of(row))
    }

    /// Place of row `i`, for an error: `reviews.csv, line 17`.
    pub fn place(&self, i: usize) -> String {
        let (part, number) = self.find(i);
        format!("{}, {} {number}", part.path.display(), part.numbers.unit())
    }

    /// Places of `rows`, for an error: `reviews.csv, lines 17, 4, 5`.
    pub fn places(&self, rows: &[usize]) -> String {
        let mut files: Vec<(&Part, Vec<String>)> = Vec::new();
        for (part, number) in rows.iter().map(|i| self.find(*i)) {
            match files.iter_mut().find(|(known, _)| known.path == part.path) {
                Some((_, numbers)) => numbers.push(number.to_string()),
                None => files.push((part, vec![number.to_string()])),
            }
        }
        let place = |(part, numbers): &(&Part, Vec<String>)| {
            format!(
                "{}, {}s {}",
                part.path.display(),
                part.numbers.unit(),
                numbers.join(", ")
            )
        };
        files.iter().map(place).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_files_become_one_list_of_places() {
        let [a, b] = ["a.csv", "b.parquet"].map(Path::new);
        let mut all = Origins::default();
        all.append(Origins::of(a, 2, Numbers::Lines(vec![2, 5])));
        let mut piece = Origins::of(a, 3, Numbers::Lines(vec![6, 7, 9]));
        piece.keep(&[0, 2]);
        all.append(piece);
        all.append(Origins::of(b, 2, Numbers::Rows(1)));
        all.append(Origins::of(b, 1, Numbers::Rows(3)));
        assert_eq!(all.name(), "a.csv and 1 more");
        let places: Vec<String> = (0..7).map(|i| all.place(i)).collect();
        assert_eq!(
            places[..4],
            [
                "a.csv, line 2",
                "a.csv, line 5",
                "a.csv, line 6",
                "a.csv, line 9"
            ]
        );
        assert_eq!(
            places[4..],
            ["b.parquet, row 1", "b.parquet, row 2", "b.parquet, row 3"]
        );
        assert_eq!(
            all.places(&[6, 0, 2]),
            "b.parquet, rows 3; a.csv, lines 2, 6"
        );
    }
}
