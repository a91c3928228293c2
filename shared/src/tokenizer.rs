//! Converts text to token ids with the tokenizers crate, from the same `tokenizer.json` natively
//! and in the browser.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{ModelWrapper, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::{Error, parallel};

/// A tokeniser that adds the special tokens and truncates to the model's maximum, but never pads.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    max_length: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json`. Texts are truncated to `max_length` tokens, special tokens included;
    /// `None` uses the length given in the file. In both cases `limit` (the encoder's number of
    /// positions) is the maximum.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the file is not a tokeniser, or the length has no room for text
    /// besides the special tokens.
    pub fn from_json(
        json: &[u8],
        max_length: Option<usize>,
        limit: usize,
    ) -> Result<Tokenizer, Error> {
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(json))
            .map_err(|e| Error::Tokenizer(format!("not a tokeniser: {e}")))?;
        check_ids(&inner)?;
        // Dropout makes token ids random. It is meant for training.
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        let max_length = max_length
            .or(inner.get_truncation().map(|t| t.max_length))
            .unwrap_or(limit)
            .min(limit);
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        inner.with_padding(None);
        inner.with_truncation(Some(truncation)).map_err(|e| {
            Error::Tokenizer(format!(
                "texts cannot be truncated to {max_length} tokens: {e}"
            ))
        })?;
        Ok(Tokenizer { inner, max_length })
    }

    /// The token ids of `text`, special tokens included.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the tokeniser has neither a piece nor an unknown token for a part
    /// of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = guarded(|| self.inner.encode_fast(text, true))
            .map_err(|e| Error::Tokenizer(format!("cannot tokenise {}: {e}", excerpt(text))))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`Tokenizer::encode`] for each text, on all cores natively.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], for the first text that fails.
    pub fn encode_all<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>, Error> {
        parallel::map(texts, |text| self.encode(text.as_ref()))
            .into_iter()
            .collect()
    }

    /// The longest review in tokens, special ones included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The number of pieces, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a piece, if it is in the vocabulary.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// The pieces in the order of their ids: `vocab.txt`, line by line.
    pub fn vocabulary(&self) -> Vec<String> {
        let mut pieces: Vec<(u32, String)> = self
            .inner
            .get_vocab(true)
            .into_iter()
            .map(|(piece, id)| (id, piece))
            .collect();
        pieces.sort_unstable();
        pieces.into_iter().map(|(_, piece)| piece).collect()
    }

    /// The `tokenizer.json` of a bundle, with the current truncation; without white space, because
    /// visitors download it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        self.inner
            .to_string(false)
            .map_err(|e| Error::Tokenizer(format!("cannot be written: {e}")))
    }
}

/// Refuses a vocabulary in which two pieces have the same id: written again, it would lack one of
/// them. A Unigram vocabulary is a list and has no such pieces.
fn check_ids(tokenizer: &tokenizers::Tokenizer) -> Result<(), Error> {
    if matches!(tokenizer.get_model(), ModelWrapper::Unigram(_)) {
        return Ok(());
    }
    let mut pieces = HashMap::new();
    for (piece, id) in tokenizer.get_vocab(false) {
        if let Some(other) = pieces.insert(id, piece.clone()) {
            let why = format!("the pieces {other:?} and {piece:?} both have the id {id}");
            return Err(Error::Tokenizer(why));
        }
    }
    Ok(())
}

/// Returns what `call` returns. The tokenizers crate panics on files that contradict themselves;
/// natively this turns the panic into an error. In WebAssembly a panic ends the worker, and the page
/// says so.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("parts of the tokeniser contradict each other".into()))
}

/// The start of a text, quoted, for an error message.
fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        format!("{short:?}…")
    } else {
        format!("{short:?}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A tokeniser of two characters and their pair, with other parts beside its model.
    fn read(changes: &[(&str, Value)]) -> Result<Tokenizer, Error> {
        let mut file = json!({
            "version": "1.0",
            "added_tokens": [],
            "model": {
                "type": "BPE",
                "vocab": {"a": 0, "b": 1, "ab": 2},
                "merges": [["a", "b"]],
            },
        });
        for (path, value) in changes {
            match path.split_once('.') {
                Some((part, field)) => file[part][field] = value.clone(),
                None => file[*path] = value.clone(),
            }
        }
        Tokenizer::from_json(file.to_string().as_bytes(), None, 16)
    }

    #[test]
    fn dropout_is_turned_off() {
        let tokenizer = read(&[("model.dropout", json!(1.0))]).expect("a tokeniser");
        assert_eq!(tokenizer.encode("abab").expect("token ids"), [2, 2]);
    }

    #[test]
    fn pieces_with_one_id_are_refused() {
        let vocab = json!({"a": 0, "b": 1, "ab": 1});
        let error = read(&[("model.vocab", vocab)]).err().expect("refused");
        assert!(error.to_string().ends_with("both have the id 1"), "{error}");
    }

    #[test]
    fn a_panic_of_the_tokenizers_crate_is_an_error() {
        let charsmap = json!({"type": "Precompiled", "precompiled_charsmap": ""});
        let error = read(&[("normalizer", charsmap)]).err().expect("refused");
        assert!(error.to_string().contains("contradict"), "{error}");
        let template = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        });
        let tokenizer = read(&[("post_processor", template)]);
        let error = tokenizer.and_then(|t| t.encode("ab")).expect_err("refused");
        assert!(error.to_string().contains("contradict"), "{error}");
    }
}
