//! Finds which words pull a rating up or down, by rating the review again with each of them left
//! out.

use crate::starsight::Rating;

/// The largest number of variants of one text that are rated.
const MOST_VARIANTS: usize = 48;

/// The largest number of tokens of all variants together: two seconds of work for MiniLM on a slow
/// machine.
const MOST_TOKENS: f64 = 6000.0;

/// A piece of a text, and how much it changes the expected value, in stars; negative if it pulls
/// down.
#[derive(Debug, Clone, PartialEq)]
pub struct Pull {
    /// One word or several, with the white space around them.
    pub piece: String,
    /// Expected value of the whole text minus that of the text without the piece.
    pub by: f32,
}

/// A text's pieces in order; concatenated they are the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulls {
    /// The pieces.
    pub pieces: Vec<Pull>,
    /// Words per piece.
    pub words_a_piece: usize,
}

/// A text, split into pieces.
pub struct Variants {
    pieces: Vec<String>,
    words_a_piece: usize,
}

impl Variants {
    /// Splits a text of `tokens` tokens into its words, or into groups of words if there are many.
    /// `None` for fewer than two words, because nothing remains without the only word.
    pub fn of(text: &str, tokens: f64) -> Option<Variants> {
        let words = words(text);
        if words.len() < 2 {
            return None;
        }
        let most = (MOST_TOKENS / tokens.max(1.0)).clamp(8.0, MOST_VARIANTS as f64) as usize;
        let words_a_piece = words.len().div_ceil(most);
        Some(Variants {
            pieces: words.chunks(words_a_piece).map(<[&str]>::concat).collect(),
            words_a_piece,
        })
    }

    /// The texts to rate: the whole text, then the text without each piece.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let without = |left_out: usize| {
            self.pieces
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != left_out)
                .map(|(_, piece)| piece.as_str())
                .collect()
        };
        std::iter::once(self.pieces.concat()).chain((0..self.pieces.len()).map(without))
    }

    /// Computes the pulls from the ratings of [`Variants::texts`].
    pub fn pulls(self, ratings: &[Rating]) -> Pulls {
        let whole = ratings.first().map_or(0.0, |rating| rating.expected);
        let pieces = self
            .pieces
            .into_iter()
            .zip(&ratings[ratings.len().min(1)..]);
        Pulls {
            pieces: pieces
                .map(|(piece, without)| Pull {
                    piece,
                    by: whole - without.expected,
                })
                .collect(),
            words_a_piece: self.words_a_piece,
        }
    }
}

/// Splits a text into words, each with the white space after it, and the first also with the white
/// space before it; concatenated they are the text. In scripts without spaces, each character
/// counts as a word.
pub fn words(text: &str) -> Vec<&str> {
    let mut starts = Vec::new();
    let (mut after_space, mut after_lone) = (true, false);
    for (at, letter) in text.char_indices() {
        let lone = stands_alone(letter);
        if !letter.is_whitespace() && (after_space || lone || after_lone) {
            starts.push(at);
        }
        (after_space, after_lone) = (letter.is_whitespace(), lone);
    }
    let Some(first) = starts.first_mut() else {
        return Vec::new();
    };
    *first = 0;
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| &text[start..end])
        .collect()
}

/// Whether a character counts as a word: Chinese characters and Japanese kana.
fn stands_alone(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_text() {
        assert_eq!(
            words("  Love it,  really\n😍 "),
            ["  Love ", "it,  ", "really\n", "😍 "]
        );
        assert_eq!(words("很好用 app"), ["很", "好", "用 ", "app"]);
        assert_eq!(words(" \n"), Vec::<&str>::new());
        for text in ["a b c", " x", "ا ب", "日本語でok!"] {
            assert_eq!(words(text).concat(), text);
        }
    }

    #[test]
    fn a_pull_is_what_is_lost_without_the_word() {
        let variants = Variants::of("great but slow", 5.0).expect("three words");
        assert_eq!(
            variants.texts().collect::<Vec<_>>(),
            ["great but slow", "but slow", "great slow", "great but "]
        );
        let rating = |expected| Rating {
            stars: 3,
            expected,
            probabilities: [0.2; 5],
            guess: false,
        };
        let pulls = variants.pulls(&[3.0, 1.5, 3.0, 4.5].map(rating));
        assert_eq!(
            pulls.pieces.iter().map(|pull| pull.by).collect::<Vec<_>>(),
            [1.5, 0.0, -1.5]
        );
        assert!(Variants::of("great", 3.0).is_none());
    }

    #[test]
    fn long_texts_are_cut_into_fewer_pieces() {
        let text = "word ".repeat(200);
        let variants = Variants::of(&text, 202.0).expect("words");
        assert_eq!((variants.words_a_piece, variants.pieces.len()), (7, 29));
        assert_eq!(variants.pieces.concat(), text);
        assert_eq!(Variants::of(&text, 1e9).expect("words").pieces.len(), 8);
    }
}
