//! Converts text to token ids with the tokenizers crate, from the same `tokenizer.json` natively
//! and in the browser.

use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

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
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| Error::Tokenizer(format!("not a tokeniser: {e}")))?;
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
            Error::Tokenizer(format!("texts cannot be cut to {max_length} tokens: {e}"))
        })?;
        Ok(Tokenizer { inner, max_length })
    }

    /// The token ids of `text`, special tokens included.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the tokeniser has neither a piece nor an unknown token for a part
    /// of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self
            .inner
            .encode_fast(text, true)
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

/// The start of a text, quoted, for an error message.
fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        format!("{short:?}…")
    } else {
        format!("{short:?}")
    }
}
