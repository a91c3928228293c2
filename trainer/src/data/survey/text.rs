//! Properties of single texts: length, emoji, script, language.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use unicode_segmentation::UnicodeSegmentation;

/// Texts with fewer letters are too short to identify their language.
const ENOUGH_LETTERS: usize = 24;

/// The properties of many texts, added up.
#[derive(Debug, Clone, Default)]
pub(super) struct Traits {
    pub characters: Vec<u32>,
    pub words: Vec<u32>,
    pub with_emoji: usize,
    /// Number of texts that contain each emoji.
    pub emoji: BTreeMap<String, usize>,
    pub scripts: BTreeMap<String, usize>,
    pub languages: BTreeMap<String, usize>,
    pub unknown_language: usize,
}

impl Traits {
    /// Adds a text.
    pub fn with(mut self, text: &str) -> Traits {
        self.characters.push(text.chars().count() as u32);
        self.words.push(text.split_whitespace().count() as u32);
        let found: BTreeSet<&str> = emoji(text).collect();
        self.with_emoji += usize::from(!found.is_empty());
        for emoji in found {
            *self.emoji.entry(emoji.to_string()).or_default() += 1;
        }
        if let Some(script) = whatlang::detect_script(text) {
            *self.scripts.entry(script.to_string()).or_default() += 1;
        }
        match language(text) {
            Some(language) => *self.languages.entry(language.to_string()).or_default() += 1,
            None => self.unknown_language += 1,
        }
        self
    }

    /// Adds the properties of other texts.
    pub fn merged(mut self, other: Traits) -> Traits {
        self.characters.extend(other.characters);
        self.words.extend(other.words);
        self.with_emoji += other.with_emoji;
        self.unknown_language += other.unknown_language;
        other
            .emoji
            .into_iter()
            .for_each(|(emoji, n)| *self.emoji.entry(emoji).or_default() += n);
        other
            .scripts
            .into_iter()
            .for_each(|(script, n)| *self.scripts.entry(script).or_default() += n);
        other
            .languages
            .into_iter()
            .for_each(|(language, n)| *self.languages.entry(language.clone()).or_default() += n);
        self
    }
}

/// The English name of a text's language, if the text is long enough and the language unambiguous.
fn language(text: &str) -> Option<&'static str> {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let found =
        whatlang::detect(text).filter(|found| letters >= ENOUGH_LETTERS && found.is_reliable())?;
    Some(found.lang().eng_name())
}

/// The emoji of a text: grapheme clusters that contain a pictograph or a flag. Latin-1 characters
/// that Unicode counts as pictographs (©, ®) are text.
fn emoji(text: &str) -> impl Iterator<Item = &str> {
    static PICTOGRAPH: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"[\p{Extended_Pictographic}\p{Regional_Indicator}&&[^\u{0}-\u{FF}\u{2122}]]")
            .ok()
    });
    let is_emoji = |cluster: &&str| {
        !cluster.is_ascii()
            && PICTOGRAPH
                .as_ref()
                .is_some_and(|pictograph| pictograph.is_match(cluster))
    };
    text.graphemes(true).filter(is_emoji)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_are_found_whole() {
        let found = |text| emoji(text).collect::<Vec<_>>();
        assert_eq!(found("Love it 😍👍🏽, 5* © 2024™ #1"), ["😍", "👍🏽"]);
        assert_eq!(found("family 👨‍👩‍👧 from 🇫🇷 ❤️"), ["👨‍👩‍👧", "🇫🇷", "❤️"]);
        assert!(found("naïve café 很好用 1️2").is_empty());
    }

    #[test]
    fn languages_are_told_where_they_can_be() {
        assert_eq!(
            language(
                "This application crashes every time that I want to open a picture of my family"
            ),
            Some("English")
        );
        assert_eq!(
            language(
                "Cette application est vraiment très utile pour organiser mes journées de travail"
            ),
            Some("French")
        );
        assert_eq!(language("good"), None);
        assert_eq!(
            language("😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍😍"),
            None
        );
    }

    #[test]
    fn traits_add_up() {
        let texts = [
            "Great 👍 👍",
            "",
            "очень хорошее приложение, пользуюсь каждый день 👍",
        ];
        let one = texts
            .iter()
            .fold(Traits::default(), |traits, text| traits.with(text));
        let two = Traits::default()
            .with(texts[0])
            .merged(Traits::default().with(texts[1]).with(texts[2]));
        assert_eq!(
            (
                &one.characters,
                &one.words,
                one.with_emoji,
                one.unknown_language
            ),
            (
                &two.characters,
                &two.words,
                two.with_emoji,
                two.unknown_language
            )
        );
        assert_eq!(
            (
                one.words,
                one.with_emoji,
                one.emoji["👍"],
                one.scripts["Cyrillic"]
            ),
            (vec![3, 0, 7], 2, 2, 1)
        );
        assert_eq!(one.languages.keys().collect::<Vec<_>>(), ["Russian"]);
    }
}
