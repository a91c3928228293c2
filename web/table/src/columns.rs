//! Which column is which.

use crate::protocol::ColumnChoice;
use crate::table::Table;

/// What columns of reviews are called, the likeliest first; compared without capitals, spaces, `_`, `-` and `.`.
pub const TEXT_NAMES: [&str; 13] = [
    "review",
    "reviewtext",
    "reviewbody",
    "reviewcontent",
    "text",
    "content",
    "comment",
    "comments",
    "body",
    "feedback",
    "reviews",
    "message",
    "sentence",
];

/// What columns of stars are called.
pub const LABEL_NAMES: [&str; 12] = [
    "star",
    "stars",
    "truestars",
    "starrating",
    "rating",
    "reviewrating",
    "overallrating",
    "score",
    "reviewscore",
    "overall",
    "label",
    "grade",
];

/// Rows that are looked at.
const SAMPLE: usize = 1000;

/// The share of the filled cells of a column of stars that must be stars.
const SHARE_OF_STARS: f64 = 0.9;

/// Whether a column is called by one of `names`.
pub fn is_named(name: &str, names: &[&str]) -> bool {
    place(name, names).is_some()
}

fn place(name: &str, names: &[&str]) -> Option<usize> {
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, ' ' | '_' | '-' | '.'))
        .flat_map(char::to_lowercase)
        .collect();
    names.iter().position(|known| *known == plain)
}

/// The true stars that a cell says: a whole number from 1 to 5. `5.0` too, as programs write it that read a column with gaps as floats.
pub fn stars(cell: &str) -> Option<u8> {
    let star: f64 = cell.trim().parse().ok()?;
    (star.fract() == 0.0 && (1.0..=5.0).contains(&star)).then_some(star as u8)
}

/// The columns of the reviews and of the true stars, by their names; else that with the longest text, and none.
pub fn guess(table: &Table) -> ColumnChoice {
    let rows = table.rows.min(SAMPLE);
    let named =
        |names: &'static [&str]| move |column: &usize| place(&table.columns[*column].name, names);
    let is_number = |cell: &str| cell.trim().parse::<f64>().is_ok();
    // Characters of text in the first rows; numbers are none.
    let length = |column: usize| {
        (0..rows)
            .map(|row| table.columns[column].text(row))
            .filter(|cell| !is_number(cell))
            .map(|cell| cell.len())
            .sum::<usize>()
    };
    let lengths: Vec<usize> = (0..table.columns.len()).map(length).collect();
    let texts = || (0..table.columns.len()).filter(|column| lengths[*column] > 0);
    let text = texts()
        .filter_map(|column| Some((named(&TEXT_NAMES)(&column)?, column)))
        .min()
        .map(|(_, column)| column)
        .or_else(|| texts().max_by_key(|column| (lengths[*column], usize::MAX - column)));
    let holds_stars = |column: &usize| {
        let cells = (0..rows)
            .map(|row| table.columns[*column].text(row))
            .filter(|cell| !cell.trim().is_empty());
        let (filled, right) = cells.fold((0, 0), |(filled, right), cell| {
            (filled + 1, right + usize::from(stars(&cell).is_some()))
        });
        right > 0 && right as f64 >= SHARE_OF_STARS * f64::from(filled)
    };
    let label = (0..table.columns.len())
        .filter(|column| Some(*column) != text && holds_stars(column))
        .filter_map(|column| Some((named(&LABEL_NAMES)(&column)?, column)))
        .min()
        .map(|(_, column)| column);
    ColumnChoice { text, label }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;
    use crate::protocol::Opening;

    fn guessed(csv: &str) -> (Option<usize>, Option<usize>) {
        let mut reader = Reader::open(&Opening {
            name: "a.csv".into(),
            ..Opening::default()
        })
        .unwrap();
        reader.push(csv.as_bytes());
        let ColumnChoice { text, label } = guess(&reader.finish().unwrap());
        (text, label)
    }

    #[test]
    fn columns_are_found_by_name_and_by_what_they_hold() {
        assert_eq!(
            guessed("id,Star Rating,Review_Text\n1,5,good\n2,1,bad\n"),
            (Some(2), Some(1))
        );
        assert_eq!(
            guessed("title,body,text,label\na,b,c,5.0\n"),
            (Some(2), Some(3))
        );
        assert_eq!(
            guessed("app,words,score\nx,a long sentence about it,71\ny,another,93\n"),
            (Some(1), None),
            "no stars from 1 to 5"
        );
        assert_eq!(
            guessed("a,b\n1,2\n3,4\n"),
            (None, None),
            "numbers are no reviews"
        );
        assert_eq!(
            guessed("review,rating\n,5\n,\n"),
            (None, Some(1)),
            "nothing is written"
        );
    }

    #[test]
    fn stars_are_whole_numbers_from_1_to_5() {
        assert_eq!(
            ["5", " 4 ", "3.0", "0", "6", "4.5", "five", ""].map(stars),
            [Some(5), Some(4), Some(3), None, None, None, None, None]
        );
    }
}
