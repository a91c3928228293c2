//! Phrase banks, and phrases drawn from them.
//!
//! A bank is a text of sections: a line `[name]`, then one phrase per line; `#` starts a comment.
//! `5* phrase` counts five times. In a phrase, `(a|b|)` is one of the alternatives, and `{name}` a
//! phrase of another section: `[kind.name]` if the kind of app has one, else `[name]`.

use std::collections::HashMap;

use super::random::Random;

const BANKS: [&str; 8] = [
    include_str!("apps.txt"),
    include_str!("shared.txt"),
    include_str!("five.txt"),
    include_str!("four.txt"),
    include_str!("three.txt"),
    include_str!("two.txt"),
    include_str!("one.txt"),
    include_str!("emoji.txt"),
];

/// The sections of all banks by name.
pub struct Grammar {
    sections: HashMap<&'static str, Vec<&'static str>>,
}

impl Grammar {
    pub fn new() -> Grammar {
        let mut sections: HashMap<&str, Vec<&str>> = HashMap::new();
        for bank in BANKS {
            let mut name = "";
            for line in bank
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                if let Some(heading) = line
                    .strip_prefix('[')
                    .and_then(|line| line.strip_suffix(']'))
                {
                    name = heading;
                    continue;
                }
                let (times, phrase) = match line.split_once("* ") {
                    Some((times, phrase)) if times.bytes().all(|b| b.is_ascii_digit()) => {
                        (times.parse().unwrap_or(1), phrase)
                    }
                    _ => (1, line),
                };
                sections
                    .entry(name)
                    .or_default()
                    .extend(std::iter::repeat_n(phrase, times));
            }
        }
        Grammar { sections }
    }

    /// A random line of a section, unchanged.
    pub fn raw(&self, section: &str, random: &mut Random) -> &'static str {
        random.pick(self.section(section, ""))
    }

    /// A random phrase of a section, with all references and alternatives resolved.
    pub fn phrase(&self, section: &str, kind: &str, random: &mut Random) -> String {
        let phrase = self.named(section, kind, random);
        tidy(&phrase)
    }

    fn section(&self, name: &str, kind: &str) -> &[&'static str] {
        self.sections
            .get(format!("{kind}.{name}").as_str())
            .or_else(|| self.sections.get(name))
            .unwrap_or_else(|| panic!("the phrase banks have no section [{name}]"))
    }

    fn named(&self, section: &str, kind: &str, random: &mut Random) -> String {
        let line = random.pick(self.section(section, kind));
        self.expand(line, kind, random)
    }

    fn expand(&self, text: &str, kind: &str, random: &mut Random) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['(', '{']) {
            out.push_str(&rest[..at]);
            if rest[at..].starts_with('{') {
                let end = at
                    + rest[at..]
                        .find('}')
                        .unwrap_or_else(|| panic!("no }} in the phrase {text:?}"));
                out.push_str(&self.named(&rest[at + 1..end], kind, random));
                rest = &rest[end + 1..];
            } else {
                let (alternatives, length) = alternatives(&rest[at..])
                    .unwrap_or_else(|| panic!("no ) in the phrase {text:?}"));
                out.push_str(&self.expand(random.pick(&alternatives), kind, random));
                rest = &rest[at + length..];
            }
        }
        out.push_str(rest);
        out
    }
}

/// The alternatives of the group at the beginning of `text`, and the group's length.
fn alternatives(text: &str) -> Option<(Vec<&str>, usize)> {
    let (mut depth, mut start, mut found) = (0, 1, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            '|' if depth == 1 => {
                found.push(&text[start..i]);
                start = i + 1;
            }
            ')' => {
                depth -= 1;
                if depth == 0 {
                    found.push(&text[start..i]);
                    return Some((found, i + 1));
                }
            }
            _ => {}
        }
    }
    None
}

/// Normalises a phrase: single spaces, none before a comma or a question mark, and the right form
/// of the article.
fn tidy(text: &str) -> String {
    let mut out = String::new();
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if !out.is_empty() && word != "," && word != "?" {
            out.push(' ');
        }
        match word {
            "a" | "an" => out.push_str(if words.peek().is_some_and(|next| takes_an(next)) {
                "an"
            } else {
                "a"
            }),
            _ => out.push_str(word),
        }
    }
    out
}

fn takes_an(word: &str) -> bool {
    let word = word.to_lowercase();
    let sounds_like_a_consonant = ["one", "once", "uni", "use", "usa", "usu", "eu"]
        .iter()
        .any(|start| word.starts_with(start))
        && !word.starts_with("unin");
    (word.starts_with(['a', 'e', 'i', 'o', 'u', '8'])
        || word.starts_with("hour")
        || word.starts_with("honest"))
        && !sounds_like_a_consonant
}

#[cfg(test)]
mod tests {
    use super::super::APPS;
    use super::*;

    #[test]
    fn groups_nest() {
        assert_eq!(
            alternatives("(a|(b|c) d|) e"),
            Some((vec!["a", "(b|c) d", ""], 12))
        );
        assert_eq!(alternatives("(a|b"), None);
    }

    #[test]
    fn phrases_are_tidy() {
        assert_eq!(
            tidy("  a  awful app , an unique one, a  hour ?"),
            "an awful app, a unique one, an hour?"
        );
    }

    /// Every reference must exist, so that no draw can meet a missing section.
    #[test]
    fn every_section_named_is_there() {
        let grammar = Grammar::new();
        for (name, lines) in &grammar.sections {
            for line in lines.iter().filter(|_| !name.ends_with("emoji")) {
                assert_eq!(
                    line.matches('(').count(),
                    line.matches(')').count(),
                    "[{name}] {line}"
                );
                assert!(!line.contains('|') || line.contains('('), "[{name}] {line}");
                for reference in line.split('{').skip(1) {
                    let reference = reference.split('}').next().unwrap_or_default();
                    for (_, kind) in APPS {
                        assert!(
                            !grammar.section(reference, kind).is_empty(),
                            "[{name}] {line}"
                        );
                    }
                }
            }
        }
        for star in 1..=5 {
            for part in ["word", "lead", "more", "emoji"] {
                assert!(!grammar.section(&format!("{star}.{part}"), "").is_empty());
            }
        }
    }
}
