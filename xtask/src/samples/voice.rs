//! A reviewer's way of typing: the same sentences look different in another voice.

use super::random::Random;

#[derive(Clone, Copy, PartialEq)]
enum Case {
    /// Sentences start with a capital.
    Sentence,
    /// Only the first sentence does.
    First,
    Lower,
    Upper,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Stop,
    /// Stops between sentences, none at the end.
    Open,
    Bang,
    Bangs,
    Dots,
    Comma,
    /// No punctuation at all.
    Nothing,
}

/// The habits of one reviewer in one review.
pub struct Voice {
    case: Case,
    ending: Ending,
    apostrophes: bool,
    shorthand: bool,
    stretches: bool,
    typos: usize,
    emoji: bool,
}

impl Voice {
    pub fn draw(random: &mut Random) -> Voice {
        Voice {
            case: random.weighted(&[
                (Case::Sentence, 55),
                (Case::First, 11),
                (Case::Lower, 30),
                (Case::Upper, 4),
            ]),
            ending: random.weighted(&[
                (Ending::Stop, 30),
                (Ending::Open, 26),
                (Ending::Bang, 11),
                (Ending::Bangs, 5),
                (Ending::Dots, 5),
                (Ending::Comma, 9),
                (Ending::Nothing, 14),
            ]),
            apostrophes: random.chance(0.84),
            shorthand: random.chance(0.07),
            stretches: random.chance(0.07),
            typos: random.weighted(&[(0, 87), (1, 11), (2, 2)]),
            emoji: random.chance(0.235),
        }
    }

    /// The sentences as this reviewer types them.
    pub fn say(
        &self,
        sentences: &[String],
        emoji: &mut dyn FnMut(&mut Random) -> String,
        random: &mut Random,
    ) -> String {
        let last = sentences.len() - 1;
        let emoji_at = if self.emoji {
            Some(if random.chance(0.8) {
                last
            } else {
                random.below(last + 1)
            })
        } else {
            None
        };
        let mut out = String::new();
        for (i, sentence) in sentences.iter().enumerate() {
            let mut sentence = self.shape(sentence, random);
            let asks = sentence.ends_with('?');
            if self.case == Case::Sentence || (self.case == Case::First && i == 0) {
                sentence = capitalised(&sentence);
            }
            out.push_str(&sentence);
            if !asks {
                out.push_str(self.mark(i == last, random));
            }
            if emoji_at == Some(i) {
                let emoji = repeated(emoji(random), random);
                // Sometimes the emoji replaces the sentence, or starts the review.
                if last == 0 && sentence.len() < 16 && random.chance(0.3) {
                    return emoji;
                }
                if i == 0 && random.chance(0.08) {
                    out = format!("{emoji} {out}");
                } else {
                    if random.chance(0.8) {
                        out.push(' ');
                    }
                    out.push_str(&emoji);
                }
            }
            if i != last {
                out.push(' ');
            }
        }
        if self.case == Case::Upper {
            out.to_uppercase()
        } else {
            out
        }
    }

    /// A sentence in the reviewer's style, without its end mark.
    fn shape(&self, sentence: &str, random: &mut Random) -> String {
        let mut words: Vec<String> = sentence.split(' ').map(str::to_owned).collect();
        if self.shorthand {
            for word in &mut words {
                if let Some((_, short)) = SHORTHAND
                    .iter()
                    .find(|(long, _)| *long == word.trim_end_matches(','))
                {
                    *word = (*short).to_owned();
                }
            }
        }
        if self.stretches {
            stretch(&mut words, random);
        }
        for _ in 0..self.typos {
            let word = random.below(words.len());
            words[word] = misspelt(&words[word], random);
        }
        let mut sentence = words.join(" ");
        if !self.apostrophes {
            sentence = sentence.replace('\'', "");
        }
        if self.case == Case::Lower {
            sentence = sentence.to_lowercase();
        }
        sentence
    }

    fn mark(&self, last: bool, random: &mut Random) -> &'static str {
        match (self.ending, last) {
            (Ending::Stop, _) | (Ending::Open, false) => ".",
            (Ending::Bang, true) => "!",
            (Ending::Bang, false) => random.pick(&["!", ".", "."]),
            (Ending::Bangs, true) => random.pick(&["!!", "!!!", "!!!!", "!!!!!"]),
            (Ending::Bangs, false) => random.pick(&["!", "!!", "!!!", "."]),
            (Ending::Dots, _) => random.pick(&["...", "..", "....", "…"]),
            (Ending::Comma, false) => ",",
            (Ending::Comma | Ending::Open | Ending::Nothing, true) | (Ending::Nothing, false) => "",
        }
    }
}

/// Words and their abbreviations.
const SHORTHAND: [(&str, &str); 23] = [
    ("you", "u"),
    ("your", "ur"),
    ("please", "plz"),
    ("thanks", "thx"),
    ("because", "coz"),
    ("and", "&"),
    ("are", "r"),
    ("great", "gr8"),
    ("with", "w/"),
    ("without", "w/o"),
    ("people", "ppl"),
    ("really", "rly"),
    ("to", "2"),
    ("for", "4"),
    ("minutes", "mins"),
    ("seconds", "secs"),
    ("application", "app"),
    ("love", "luv"),
    ("awesome", "awsm"),
    ("very", "v"),
    ("though", "tho"),
    ("something", "smth"),
    ("I", "i"),
];

/// Words that people stretch, and the letter they repeat.
const STRETCHED: [(&str, char); 30] = [
    ("so", 'o'),
    ("love", 'o'),
    ("good", 'o'),
    ("cool", 'o'),
    ("bad", 'a'),
    ("slow", 'o'),
    ("great", 'a'),
    ("best", 'e'),
    ("worst", 'o'),
    ("nice", 'i'),
    ("amazing", 'a'),
    ("awesome", 'o'),
    ("very", 'y'),
    ("really", 'e'),
    ("please", 'e'),
    ("super", 'u'),
    ("much", 'u'),
    ("too", 'o'),
    ("many", 'y'),
    ("never", 'e'),
    ("not", 'o'),
    ("hate", 'a'),
    ("wow", 'o'),
    ("yes", 'e'),
    ("no", 'o'),
    ("meh", 'h'),
    ("ugh", 'h'),
    ("awful", 'a'),
    ("boring", 'o'),
    ("perfect", 'e'),
];

fn stretch(words: &mut [String], random: &mut Random) {
    let found: Vec<usize> = (0..words.len())
        .filter(|&i| STRETCHED.iter().any(|(word, _)| *word == words[i]))
        .collect();
    if found.is_empty() {
        return;
    }
    let word = &mut words[random.pick(&found)];
    if let Some((_, held)) = STRETCHED.iter().find(|(stretched, _)| stretched == word)
        && let Some(at) = word.rfind(*held)
    {
        word.insert_str(at, &held.to_string().repeat(2 + random.below(4)));
    }
}

/// A word with one typing error; unchanged if it is short or has anything but lower-case letters.
fn misspelt(word: &str, random: &mut Random) -> String {
    if word.len() < 4 || !word.bytes().all(|b| b.is_ascii_lowercase()) {
        return word.to_owned();
    }
    let mut letters: Vec<char> = word.chars().collect();
    let at = 1 + random.below(letters.len() - 2);
    match random.below(4) {
        0 => letters.swap(at, at + 1),
        1 => letters.insert(at, letters[at]),
        2 => {
            letters.remove(at);
        }
        _ => letters[at] = neighbour(letters[at], random),
    }
    letters.into_iter().collect()
}

/// A neighbouring key.
fn neighbour(letter: char, random: &mut Random) -> char {
    const KEYS: &str = "qwertyuiopasdfghjklzxcvbnm";
    match KEYS.find(letter) {
        Some(0) => 'w',
        Some(at) if at + 1 < KEYS.len() => {
            char::from(KEYS.as_bytes()[if random.chance(0.5) { at - 1 } else { at + 1 }])
        }
        _ => 'n',
    }
}

fn repeated(emoji: String, random: &mut Random) -> String {
    let times = random.weighted(&[(1, 68), (2, 14), (3, 14), (5, 4)]);
    if emoji.chars().count() <= 2 {
        emoji.repeat(times)
    } else {
        emoji
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Voice {
        Voice {
            case: Case::Sentence,
            ending: Ending::Stop,
            apostrophes: true,
            shorthand: false,
            stretches: false,
            typos: 0,
            emoji: false,
        }
    }

    fn say(voice: &Voice, sentences: &[&str]) -> String {
        let sentences: Vec<String> = sentences
            .iter()
            .map(|&sentence| sentence.to_owned())
            .collect();
        voice.say(&sentences, &mut |_| "👍".to_owned(), &mut Random::new(7))
    }

    #[test]
    fn voices_differ() {
        let sentences = ["I love it", "why doesn't it sync?"];
        assert_eq!(say(&plain(), &sentences), "I love it. Why doesn't it sync?");
        assert_eq!(
            say(
                &Voice {
                    case: Case::Upper,
                    ..plain()
                },
                &sentences
            ),
            "I LOVE IT. WHY DOESN'T IT SYNC?"
        );
        assert_eq!(
            say(
                &Voice {
                    case: Case::Lower,
                    ending: Ending::Comma,
                    apostrophes: false,
                    ..plain()
                },
                &sentences
            ),
            "i love it, why doesnt it sync?"
        );
        assert!(
            say(
                &Voice {
                    stretches: true,
                    ..plain()
                },
                &sentences
            )
            .starts_with("I loo")
        );
        assert!(
            say(
                &Voice {
                    emoji: true,
                    ..plain()
                },
                &sentences
            )
            .contains('👍')
        );
    }

    #[test]
    fn a_typo_keeps_most_of_a_word() {
        let mut random = Random::new(3);
        for _ in 0..100 {
            let word = misspelt("terrible", &mut random);
            assert!(
                word.starts_with('t') && (7..=9).contains(&word.len()),
                "{word}"
            );
        }
        assert_eq!(misspelt("the", &mut random), "the");
    }
}
