//! Finds the columns of reviews and of true stars.

use crate::protocol::ColumnChoice;
use crate::table::Table;

/// Names of columns of reviews, the most probable first. They are compared without case, spaces,
/// `_`, `-` and `.`.
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

/// Names of columns of true stars.
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

/// Number of rows that are examined.
const SAMPLE: usize = 1000;

/// The smallest share of filled cells that must be stars in a column of stars.
const SHARE_OF_STARS: f64 = 0.9;

/// Whether a column's name is one of `names`.
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

/// The true stars in a cell: a whole number from 1 to 5. `5.0` is accepted too, because programs
/// that read a column with gaps as floats write it so.
pub fn stars(cell: &str) -> Option<u8> {
    let star: f64 = cell.trim().parse().ok()?;
    (star.fract() == 0.0 && (1.0..=5.0).contains(&star)).then_some(star as u8)
}

/// Guesses the columns of reviews and of true stars by their names. Without a match, the column
/// with the longest text is used for reviews, and none for stars.
pub fn guess(table: &Table) -> ColumnChoice {
    let rows = table.rows.min(SAMPLE);
    let named =
        |names: &'static [&str]| move |column: &usize| place(&table.columns[*column].name, names);
    let is_number = |cell: &str| cell.trim().parse::<f64>().is_ok();
    // Bytes of text in the first rows; cells with numbers do not count.
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
