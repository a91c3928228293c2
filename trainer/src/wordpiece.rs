//! BERT's WordPiece tokeniser: from a vocabulary, and a vocabulary from texts.

use std::collections::BTreeSet;

use ahash::AHashMap;
use anyhow::{Context, Result, anyhow, ensure};
use tokenizers::decoders::wordpiece::WordPiece as Decoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// BERT's special tokens, in the order in which a new vocabulary holds them.
pub const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

fn failed(error: tokenizers::Error) -> anyhow::Error {
    anyhow!("{error}")
}

fn bert(model: WordPiece, lowercase: bool) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase))).map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer)).with_decoder(Some(Decoder::default()));
    Ok(tokenizer)
}

/// Marks the special tokens, and puts `[CLS]` before and `[SEP]` after each text.
fn complete(mut tokenizer: Tokenizer) -> Result<String> {
    let id = |token: &str| tokenizer.token_to_id(token).with_context(|| format!("the vocabulary lacks {token}"));
    let processing = BertProcessing::new(("[SEP]".into(), id("[SEP]")?), ("[CLS]".into(), id("[CLS]")?));
    id("[UNK]")?;
    tokenizer.with_post_processor(Some(processing));
    let special = SPECIAL.into_iter().filter(|token| tokenizer.token_to_id(token).is_some());
    let special: Vec<AddedToken> = special.map(|token| AddedToken::from(token, true)).collect();
    tokenizer.add_special_tokens(special).map_err(failed)?;
    tokenizer.to_string(true).map_err(failed)
}

/// The `tokenizer.json` of a `vocab.txt`, a piece a line.
///
/// # Errors
/// When a special token is missing.
pub fn tokenizer(vocab: &str, lowercase: bool) -> Result<String> {
    let pieces: AHashMap<String, u32> = vocab.lines().zip(0u32..).map(|(piece, id)| (piece.trim_end_matches('\r').to_string(), id)).collect();
    let model = WordPiece::builder().vocab(pieces).unk_token("[UNK]".into()).build().map_err(failed)?;
    complete(bert(model, lowercase)?)
}

/// The `tokenizer.json` of a cased vocabulary of at most `size` pieces, learned from `texts`. Every character that occurs is a piece; emoji and other symbols are so in the
/// middle of a word too, because they are written one after another without a space.
///
/// # Errors
/// When the texts give no vocabulary.
pub fn learn<'a>(texts: impl Iterator<Item = &'a str> + Clone + Send, size: usize) -> Result<String> {
    let symbols: BTreeSet<char> =
        texts.clone().flat_map(str::chars).filter(|c| !c.is_ascii() && !c.is_alphanumeric() && !c.is_whitespace()).collect();
    let doubled: Vec<String> = symbols.into_iter().map(|c| format!("{c}{c}")).collect();
    let texts = texts.map(str::to_string).chain(doubled);
    let special = SPECIAL.map(|token| AddedToken::from(token, true)).to_vec();
    let trainer = WordPieceTrainer::builder().vocab_size(size).min_frequency(2).special_tokens(special).show_progress(false).build();
    let model = WordPiece::builder().unk_token("[UNK]".into()).build().map_err(failed)?;
    let mut learner = bert(model, false)?;
    learner.train(&mut TrainerWrapper::from(trainer), texts).map_err(failed)?;
    // The library numbers pieces by the order of a hash map; in the order of the alphabet their numbers tell nothing of chance.
    let pieces: BTreeSet<String> = learner.get_vocab(true).into_keys().filter(|piece| !SPECIAL.contains(&piece.as_str())).collect();
    ensure!(!pieces.is_empty(), "the texts hold no words to learn a vocabulary from");
    let vocab: Vec<&str> = SPECIAL.into_iter().chain(pieces.iter().map(String::as_str)).collect();
    tokenizer(&vocab.join("\n"), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_is_learned_with_its_emoji() {
        let texts = ["Great app 👍", "Great game, great fun 👍", "Bad app 😡", "Bad bad update 😡"];
        let json = learn(texts.iter().copied(), 60).expect("a tokeniser");
        let tokenizer = starsight_model::tokenizer::Tokenizer::from_json(json.as_bytes(), None, 16).expect("a tokeniser");
        let ids = tokenizer.encode("Great app 👍😡").expect("ids");
        assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3), "[CLS] and [SEP]");
        assert!(!ids.contains(&1), "nothing is unknown: {ids:?}");
        assert_eq!(tokenizer.encode("日").expect("ids"), [2, 1, 3]);
    }

    #[test]
    fn a_vocabulary_file_makes_the_same_tokeniser() {
        let json = tokenizer("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\n##ness\n!", true).expect("a tokeniser");
        let tokenizer = starsight_model::tokenizer::Tokenizer::from_json(json.as_bytes(), None, 16).expect("a tokeniser");
        assert_eq!(tokenizer.encode("GOODNESS!").expect("ids"), [2, 5, 6, 7, 3]);
        assert!(super::tokenizer("a\nb", true).is_err());
    }
}
