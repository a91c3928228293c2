//! Typing errors, as someone in a hurry makes them. The stars stay the same.

use starsight_model::rng;
use tokenizers::NormalizedString;

/// Rows of a keyboard: neighbouring letters are mistyped for each other.
const KEYS: [&str; 3] = ["qwertyuiop", "asdfghjkl", "zxcvbnm"];
const VOWELS: &str = "aeiouAEIOU";

/// A sequence of draws that depends only on a text.
struct Draws {
    key: u64,
    drawn: u64,
}

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.drawn += 1;
        (rng::bits(self.key, self.drawn) % n.max(1) as u64) as usize
    }
}

/// The text with one kind of error drawn by `key`; `None` if it would not change.
pub fn slip(text: &str, key: u64) -> Option<String> {
    let mut draws = Draws {
        key: rng::stream(key, 0x511b),
        drawn: 0,
    };
    let slipped = match draws.below(10) {
        0..4 => mistyped(text, &mut draws),
        4 => text.to_lowercase(),
        5 => text.to_uppercase(),
        6 | 7 => without_accents(text),
        8 => text.chars().filter(|c| !c.is_ascii_punctuation()).collect(),
        _ => stretched(text, &mut draws),
    };
    (slipped != text && !slipped.trim().is_empty()).then_some(slipped)
}

/// In some words one letter is left out, doubled, swapped with the next, or replaced by its
/// neighbour on the keyboard.
fn mistyped(text: &str, draws: &mut Draws) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let long: Vec<usize> = (0..words.len())
        .filter(|i| words[*i].chars().filter(|c| c.is_alphabetic()).count() >= 3)
        .collect();
    if long.is_empty() {
        return text.to_owned();
    }
    for _ in 0..=(long.len() / 10) {
        let word = &mut words[long[draws.below(long.len())]];
        let mut letters: Vec<char> = word.chars().collect();
        if letters.len() < 2 {
            continue;
        }
        // The first letter is rarely mistyped.
        let at = 1 + draws.below(letters.len() - 1);
        match draws.below(4) {
            0 => {
                letters.remove(at);
            }
            1 => letters.insert(at, letters[at]),
            2 if at + 1 < letters.len() => letters.swap(at, at + 1),
            _ => letters[at] = neighbour(letters[at], draws),
        }
        *word = letters.into_iter().collect();
    }
    words.join(" ")
}

fn neighbour(letter: char, draws: &mut Draws) -> char {
    let row = KEYS.iter().find_map(|row| {
        row.find(letter.to_ascii_lowercase())
            .map(|at| (row.as_bytes(), at))
    });
    let Some((row, at)) = row else { return letter };
    let beside = if at == 0 || at + 1 < row.len() && draws.below(2) == 0 {
        at + 1
    } else {
        at - 1
    };
    char::from(row[beside])
}

/// Without diacritics, as many people write.
fn without_accents(text: &str) -> String {
    let mut normal = NormalizedString::from(text);
    normal
        .nfd()
        .filter(|c| !('\u{300}'..='\u{36f}').contains(&c))
        .nfc();
    normal.get().to_owned()
}

/// With one vowel repeated: `sooooo good`.
fn stretched(text: &str, draws: &mut Draws) -> String {
    let vowels: Vec<usize> = text
        .char_indices()
        .filter(|(_, c)| VOWELS.contains(*c))
        .map(|(at, _)| at)
        .collect();
    if vowels.is_empty() {
        return text.to_owned();
    }
    let at = vowels[draws.below(vowels.len())];
    let (before, after) = text.split_at(at);
    format!("{before}{}{after}", after[..1].repeat(2 + draws.below(5)))
}
