//! BERT's WordPiece tokeniser: from a vocabulary, or learned from texts.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ahash::AHashMap;
use anyhow::{Context, Result, anyhow, ensure};
use tokenizers::decoders::wordpiece::WordPiece as Decoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Tokenizer,
};

/// BERT's special tokens, in the order of a new vocabulary.
pub const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

fn failed(error: tokenizers::Error) -> anyhow::Error {
    anyhow!("{error}")
}

fn bert(model: WordPiece, lowercase: bool) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))
        .map_err(failed)?;
    tokenizer
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_decoder(Some(Decoder::default()));
    Ok(tokenizer)
}

/// Marks the special tokens, and puts `[CLS]` before and `[SEP]` after each text.
fn complete(mut tokenizer: Tokenizer) -> Result<String> {
    let id = |token: &str| {
        tokenizer
            .token_to_id(token)
            .with_context(|| format!("the vocabulary lacks {token}"))
    };
    let processing = BertProcessing::new(
        ("[SEP]".into(), id("[SEP]")?),
        ("[CLS]".into(), id("[CLS]")?),
    );
    id("[UNK]")?;
    tokenizer.with_post_processor(Some(processing));
    let special = SPECIAL
        .into_iter()
        .filter(|token| tokenizer.token_to_id(token).is_some());
    let special: Vec<AddedToken> = special.map(|token| AddedToken::from(token, true)).collect();
    tokenizer.add_special_tokens(special).map_err(failed)?;
    tokenizer.to_string(true).map_err(failed)
}

/// The `tokenizer.json` for a `vocab.txt` with one piece per line.
///
/// # Errors
/// When a special token is missing.
pub fn tokenizer(vocab: &str, lowercase: bool) -> Result<String> {
    let pieces: AHashMap<String, u32> = vocab
        .lines()
        .zip(0u32..)
        .map(|(piece, id)| (piece.trim_end_matches('\r').to_string(), id))
        .collect();
    let model = WordPiece::builder()
        .vocab(pieces)
        .unk_token("[UNK]".into())
        .build()
        .map_err(failed)?;
    complete(bert(model, lowercase)?)
}

/// At most one piece in this many is a single letter, and as many are symbols. (Each may need a
/// second piece for the middle of a word.) Rare characters would displace words: reviews in one
/// language contain characters of all scripts.
const SHARE_OF_A_KIND: usize = 8;

/// The characters of a vocabulary besides ASCII.
struct Alphabet {
    letters: BTreeSet<char>,
    symbols: BTreeSet<char>,
}

impl Alphabet {
    /// The `most` frequent letters and digits of `texts`, and as many symbols. Ties are in order of
    /// code points.
    fn of<'a>(texts: impl Iterator<Item = &'a str>, most: usize) -> Alphabet {
        let mut counts = AHashMap::<char, usize>::new();
        texts
            .flat_map(str::chars)
            .filter(|c| !c.is_ascii() && !c.is_whitespace())
            .for_each(|c| *counts.entry(c).or_default() += 1);
        let frequent = |kind: &dyn Fn(char) -> bool| {
            let mut found: Vec<(Reverse<usize>, char)> = counts
                .iter()
                .filter(|(c, _)| kind(**c))
                .map(|(c, count)| (Reverse(*count), *c))
                .collect();
            found.sort_unstable();
            found.into_iter().take(most).map(|(_, c)| c).collect()
        };
        Alphabet {
            letters: frequent(&char::is_alphanumeric),
            symbols: frequent(&|c| !c.is_alphanumeric()),
        }
    }

    /// The text with unknown characters replaced by spaces.
    fn replace_unknown(&self, text: &str) -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii() || self.letters.contains(&c) || self.symbols.contains(&c) {
                    c
                } else {
                    ' '
                }
            })
            .collect()
    }
}

/// The characters after the first of each word of `texts`, divided into words by the tokeniser.
fn within_words(
    tokenizer: &Tokenizer,
    texts: impl Iterator<Item = String>,
) -> Result<BTreeSet<char>> {
    let mut found = BTreeSet::new();
    for text in texts {
        let mut text = NormalizedString::from(text);
        tokenizer
            .get_normalizer()
            .map_or(Ok(()), |normalizer| normalizer.normalize(&mut text))
            .map_err(failed)?;
        let mut words = PreTokenizedString::from(text);
        tokenizer
            .get_pre_tokenizer()
            .map_or(Ok(()), |divider| divider.pre_tokenize(&mut words))
            .map_err(failed)?;
        for (word, ..) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            found.extend(word.chars().skip(1));
        }
    }
    Ok(found)
}

/// Learns a cased vocabulary of at most `size` pieces from `texts`, and returns its
/// `tokenizer.json`. The most frequent characters are pieces. Emoji and other symbols are also
/// pieces for the middle of a word, because people write them without spaces.
///
/// # Errors
/// When the texts give no vocabulary.
pub fn learn<'a>(
    texts: impl Iterator<Item = &'a str> + Clone + Send,
    size: usize,
) -> Result<String> {
    let alphabet = Alphabet::of(texts.clone(), size / SHARE_OF_A_KIND);
    let doubled: Vec<String> = alphabet.symbols.iter().map(|c| format!("{c}{c}")).collect();
    let texts = texts
        .map(|text| alphabet.replace_unknown(text))
        .chain(doubled);
    let model = WordPiece::builder()
        .unk_token("[UNK]".into())
        .build()
        .map_err(failed)?;
    let mut learner = bert(model, false)?;
    // The library collects the characters within words in the order of a hash map, and that order
    // decides between equally frequent pairs. Listing them first, in alphabetical order, makes the
    // vocabulary depend on the texts alone.
    let within = within_words(&learner, texts.clone())?;
    let first = SPECIAL
        .map(str::to_owned)
        .into_iter()
        .chain(within.iter().map(|c| format!("##{c}")));
    let special = first.map(|piece| AddedToken::from(piece, true)).collect();
    let trainer = WordPieceTrainer::builder()
        .vocab_size(size)
        .min_frequency(2)
        .special_tokens(special)
        .show_progress(false)
        .build();
    learner
        .train(&mut TrainerWrapper::from(trainer), texts)
        .map_err(failed)?;
    // In alphabetical order, for the same reason.
    let pieces: BTreeSet<String> = learner
        .get_vocab(true)
        .into_keys()
        .filter(|piece| !SPECIAL.contains(&piece.as_str()))
        .collect();
    ensure!(
        !pieces.is_empty(),
        "the texts contain no words to learn a vocabulary from"
    );
    let vocab: Vec<&str> = SPECIAL
        .into_iter()
        .chain(pieces.iter().map(String::as_str))
        .collect();
    tokenizer(&vocab.join("\n"), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_is_learned_with_its_emoji() {
        let texts = [
            "Great app 👍",
            "Great game, great fun 👍",
            "Bad app 😡",
            "Bad bad update 😡",
        ];
        let json = learn(texts.iter().copied(), 60).expect("a tokeniser");
        let tokenizer = starsight_model::tokenizer::Tokenizer::from_json(json.as_bytes(), None, 16)
            .expect("a tokeniser");
        let ids = tokenizer.encode("Great app 👍😡").expect("ids");
        assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3), "[CLS] and [SEP]");
        assert!(!ids.contains(&1), "nothing is unknown: {ids:?}");
        assert_eq!(tokenizer.encode("日").expect("ids"), [2, 1, 3]);
    }

    #[test]
    fn rare_characters_leave_room_for_words() {
        // 2,000 ideographs, each in two reviews, and three emoji in many.
        let rare = (0..2000u32).map(|i| {
            char::from_u32(0x4e00 + i)
                .expect("an ideograph")
                .to_string()
        });
        let common = (0..50).map(|i| format!("wonderful puzzle{}", ["😀", "👍👍", "🫶"][i % 3]));
        let texts: Vec<String> = rare.clone().chain(rare).chain(common).collect();
        let json = learn(texts.iter().map(String::as_str), 160).expect("a tokeniser");
        assert_eq!(
            json,
            learn(texts.iter().map(String::as_str), 160).expect("the same")
        );
        let tokenizer = starsight_model::tokenizer::Tokenizer::from_json(json.as_bytes(), None, 64)
            .expect("a tokeniser");
        assert!(tokenizer.vocab_size() <= 160);
        let ids = tokenizer.encode("wonderful puzzle😀🫶👍").expect("ids");
        assert!(
            !ids.contains(&1) && ids.len() < 10,
            "whole words, and no emoji that is unknown: {ids:?}"
        );
    }

    #[test]
    fn a_vocabulary_file_makes_the_same_tokeniser() {
        let json = tokenizer("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\n##ness\n!", true)
            .expect("a tokeniser");
        let tokenizer = starsight_model::tokenizer::Tokenizer::from_json(json.as_bytes(), None, 16)
            .expect("a tokeniser");
        assert_eq!(tokenizer.encode("GOODNESS!").expect("ids"), [2, 5, 6, 7, 3]);
        assert!(super::tokenizer("a\nb", true).is_err());
    }
}
