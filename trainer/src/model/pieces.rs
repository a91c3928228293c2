//! Unigram vocabularies (SentencePiece), reduced to the pieces that texts use. The model is from
//! Kudo, "Subword Regularization", ACL 2018; Abdaoui, Pradel and Sigel, "Load What You Need",
//! SustaiNLP 2020, reduced multilingual vocabularies.
//!
//! A Unigram tokeniser takes the likeliest segmentation of a text. Removing pieces that no such
//! segmentation uses does not change the segmentations.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use tokenizers::{NormalizedString, Normalizer, Tokenizer};

use crate::system::{interrupt, progress::Progress};

/// Texts tokenised at once.
const PORTION: usize = 4096;

/// Sum of the weights of the texts in which a character must occur to become a piece, if the
/// vocabulary lacks it.
const COMMON_CHARACTER: f64 = 20.0;
/// Score of added characters, a log-probability: as rare as the rarest pieces of XLM-RoBERTa.
const CHARACTER_SCORE: f64 = -20.0;
/// Score of bytes: below that of any character, so that bytes spell only what no other piece can.
const BYTE_SCORE: f64 = -30.0;
/// Number of byte pieces.
const BYTES: usize = 256;
/// Pieces kept in the first pass, as a multiple of the final number. A piece that is rare in the
/// long vocabulary may be frequent in the short one, where others are missing.
const FIRST_CUT: f64 = 1.5;

/// The special pieces of XLM-RoBERTa's vocabularies: unknown, padding, begin and end of a text.
pub const SPECIAL: [&str; 4] = ["<unk>", "<pad>", "<s>", "</s>"];

/// A Unigram tokeniser, with the origin of its pieces.
pub struct Pieces {
    /// `tokenizer.json` without the pieces and the ids that depend on them.
    frame: Value,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
struct Piece {
    text: String,
    score: f64,
    /// Its id in the tokeniser that was read.
    origin: Option<u32>,
    special: bool,
}

fn failed(error: tokenizers::Error) -> anyhow::Error {
    anyhow!("{error}")
}

impl Pieces {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// When it is not a tokeniser, or not a Unigram model.
    pub fn read(json: &str) -> Result<Pieces> {
        let mut frame: Value = serde_json::from_str(json).context("not a tokeniser")?;
        let kind = frame["model"]["type"].as_str().unwrap_or("none").to_owned();
        ensure!(
            kind == "Unigram",
            "the tokeniser's model is {kind}; only a Unigram vocabulary, such as XLM-RoBERTa's, can be trimmed"
        );
        let vocab: Vec<(String, f64)> = serde_json::from_value(frame["model"]["vocab"].take())
            .context("the pieces of a Unigram model are texts with scores")?;
        let mut special: BTreeSet<usize> =
            numbers(&frame["added_tokens"], "id")?.into_iter().collect();
        special.extend(frame["model"]["unk_id"].as_u64().map(|id| id as usize));
        if let Some(beyond) = special.iter().find(|id| **id >= vocab.len()) {
            bail!(
                "an added token has the id {beyond}, beyond the {} pieces; such a vocabulary cannot be trimmed",
                vocab.len()
            );
        }
        let processor = frame["post_processor"]["type"]
            .as_str()
            .unwrap_or("none")
            .to_owned();
        let known = [
            "none",
            "TemplateProcessing",
            "RobertaProcessing",
            "BertProcessing",
        ];
        ensure!(
            known.contains(&processor.as_str()),
            "the tokeniser's post-processor is {processor}; only vocabularies with {} can be trimmed",
            known[1..].join(", ")
        );
        let piece = |(id, (text, score)): (usize, (String, f64))| Piece {
            text,
            score,
            origin: Some(id as u32),
            special: special.contains(&id),
        };
        Ok(Pieces {
            pieces: vocab.into_iter().enumerate().map(piece).collect(),
            frame,
        })
    }

    /// Number of pieces.
    pub fn size(&self) -> usize {
        self.pieces.len()
    }

    /// The id of each piece in the tokeniser that was read; `None` for added pieces.
    pub fn origins(&self) -> impl Iterator<Item = Option<u32>> {
        self.pieces.iter().map(|piece| piece.origin)
    }

    /// Keeps only special pieces and those that occur in `texts` at least `least` times, or at
    /// least once if they are a single character.
    ///
    /// # Errors
    /// When the tokeniser fails, or the user interrupts.
    pub fn keep_used(&mut self, texts: &[(&str, f64)], least: usize) -> Result<()> {
        let counts = self.count(texts, |_| 1.0)?;
        self.retain(|id, piece| {
            counts[id]
                >= if piece.text.chars().count() == 1 {
                    1.0
                } else {
                    least as f64
                }
        });
        Ok(())
    }

    /// Reduces the vocabulary to at most `size` pieces for a small model: those that `texts`, with
    /// their weights, use most, including frequent characters, and byte pieces for everything else,
    /// so that nothing is unknown. Texts are normalised by NFKC, and runs of white space become one
    /// space.
    ///
    /// # Errors
    /// When `size` leaves no room beside bytes and special pieces, the tokeniser fails, or the user
    /// interrupts.
    pub fn limit_size(&mut self, texts: &[(&str, f64)], size: usize) -> Result<()> {
        self.frame["normalizer"] = json!({ "type": "Sequence", "normalizers": [
            { "type": "NFKC" },
            { "type": "Replace", "pattern": { "Regex": "\\s+" }, "content": " " },
            { "type": "Strip", "strip_left": true, "strip_right": true },
        ]});
        let special = self.pieces.iter().filter(|piece| piece.special).count();
        let room = size.checked_sub(BYTES + special).filter(|room| *room > 0);
        let room = room.with_context(|| format!("a vocabulary of {size} pieces has no room beside {BYTES} bytes and {special} special pieces"))?;
        self.add_characters(texts)?;
        for most in [(room as f64 * FIRST_CUT) as usize, room] {
            let counts = self.count(texts, |weight| weight)?;
            let mut order: Vec<usize> = (0..self.size())
                .filter(|id| !self.pieces[*id].special)
                .collect();
            order.sort_by(|a, b| counts[*b].total_cmp(&counts[*a]).then(a.cmp(b)));
            order.truncate(most);
            let kept: HashSet<usize> = order.into_iter().collect();
            self.retain(|id, _| kept.contains(&id));
        }
        self.add((0..BYTES).map(|byte| (format!("<0x{byte:02X}>"), BYTE_SCORE)));
        self.frame["model"]["byte_fallback"] = true.into();
        Ok(())
    }

    /// Adds frequent characters that are not pieces by themselves, the most frequent first.
    fn add_characters(&mut self, texts: &[(&str, f64)]) -> Result<()> {
        let tokenizer = self.tokenizer()?;
        let known: HashSet<&str> = self
            .pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect();
        let mut found = BTreeMap::<char, f64>::new();
        for (text, weight) in texts {
            let mut normal = NormalizedString::from(*text);
            tokenizer
                .get_normalizer()
                .map_or(Ok(()), |normalizer| normalizer.normalize(&mut normal))
                .map_err(failed)?;
            let characters: BTreeSet<char> = normal
                .get()
                .chars()
                .filter(|c| !c.is_whitespace())
                .collect();
            characters
                .into_iter()
                .for_each(|c| *found.entry(c).or_default() += weight);
        }
        let mut buffer = [0; 4];
        let mut new: Vec<(char, f64)> = found
            .into_iter()
            .filter(|(c, weight)| {
                *weight >= COMMON_CHARACTER && !known.contains(&*c.encode_utf8(&mut buffer))
            })
            .collect();
        new.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.add(
            new.into_iter()
                .map(|(c, _)| (c.to_string(), CHARACTER_SCORE)),
        );
        Ok(())
    }

    fn add(&mut self, pieces: impl Iterator<Item = (String, f64)>) {
        self.pieces.extend(pieces.map(|(text, score)| Piece {
            text,
            score,
            origin: None,
            special: false,
        }));
    }

    fn retain(&mut self, keep: impl Fn(usize, &Piece) -> bool) {
        let mut id = 0;
        self.pieces.retain(|piece| {
            id += 1;
            piece.special || keep(id - 1, piece)
        });
    }

    /// Counts the occurrences of each piece in `texts`, each weighted by `weight` of the text's own
    /// weight.
    fn count(&self, texts: &[(&str, f64)], weight: impl Fn(f64) -> f64) -> Result<Vec<f64>> {
        let tokenizer = self.tokenizer()?;
        let mut counts = vec![0.0; self.size()];
        let mut progress = Progress::new("counting pieces", "texts", texts.len());
        for portion in texts.chunks(PORTION) {
            let encodings = tokenizer
                .encode_batch_fast(portion.iter().map(|(text, _)| *text).collect(), false)
                .map_err(failed)?;
            for (encoding, (_, own)) in encodings.iter().zip(portion) {
                encoding
                    .get_ids()
                    .iter()
                    .for_each(|id| counts[*id as usize] += weight(*own));
            }
            progress.advance(portion.len(), "");
            interrupt::check()?;
        }
        progress.finish();
        Ok(counts)
    }

    fn tokenizer(&self) -> Result<Tokenizer> {
        self.to_json()?.parse().map_err(failed)
    }

    /// Returns the `tokenizer.json`.
    ///
    /// # Errors
    /// When a special piece of the frame is missing, which cannot happen.
    pub fn to_json(&self) -> Result<String> {
        let mut whole = self.frame.clone();
        let ids: BTreeMap<&str, usize> = self
            .pieces
            .iter()
            .zip(0..)
            .map(|(piece, id)| (piece.text.as_str(), id))
            .collect();
        let by_origin: BTreeMap<u32, usize> = self
            .pieces
            .iter()
            .zip(0..)
            .filter_map(|(piece, id)| Some((piece.origin?, id)))
            .collect();
        let moved = |id: &mut Value| -> Result<()> {
            let Some(old) = id.as_u64() else {
                return Ok(());
            };
            *id = (*by_origin
                .get(&(old as u32))
                .with_context(|| format!("piece {old} is still referenced, but was removed"))?)
            .into();
            Ok(())
        };
        moved(&mut whole["model"]["unk_id"])?;
        whole["added_tokens"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .try_for_each(|token| moved(&mut token["id"]))?;
        let id = |name: &str| {
            ids.get(name)
                .copied()
                .with_context(|| format!("{name} is still referenced, but was removed"))
        };
        for token in whole["post_processor"]
            .get_mut("special_tokens")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(|tokens| tokens.values_mut())
        {
            let names: Vec<String> =
                serde_json::from_value(token["tokens"].clone()).unwrap_or_default();
            token["ids"] = names
                .iter()
                .map(|name| id(name))
                .collect::<Result<Vec<_>>>()?
                .into();
        }
        // The format of BERT and RoBERTa: `"sep": ["</s>", 2]`.
        for key in ["sep", "cls"] {
            let Some(pair) = whole["post_processor"]
                .get_mut(key)
                .and_then(Value::as_array_mut)
            else {
                continue;
            };
            if let [name, number] = &mut pair[..] {
                *number = id(name.as_str().unwrap_or_default())?.into();
            }
        }
        whole["model"]["vocab"] = self
            .pieces
            .iter()
            .map(|piece| json!([piece.text, piece.score]))
            .collect();
        Ok(whole.to_string())
    }
}

/// The numbers under `key` in the objects of a list.
fn numbers(list: &Value, key: &str) -> Result<Vec<usize>> {
    let number = |item: &Value| {
        item[key]
            .as_u64()
            .map(|n| n as usize)
            .with_context(|| format!("an added token without {key}"))
    };
    list.as_array().into_iter().flatten().map(number).collect()
}

/// Each distinct text once, in order of first occurrence, with the weight it has there.
pub fn distinct<'a>(texts: impl Iterator<Item = (&'a str, f64)>) -> Vec<(&'a str, f64)> {
    let mut seen = HashSet::new();
    texts.filter(|(text, _)| seen.insert(*text)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tokeniser like XLM-RoBERTa's with few pieces.
    pub fn unigram() -> String {
        let words = [
            "<s>", "<pad>", "</s>", "<unk>", "▁", "▁good", "▁bad", "ness", "g", "o", "d", "b", "a",
            "▁app", "p", "n", "e", "s", "goo", "日",
        ];
        let vocab: Vec<Value> = words
            .iter()
            .zip(0u8..)
            .map(|(word, i)| {
                json!([
                    word,
                    if i < 4 {
                        0.0
                    } else {
                        -3.0 - 0.25 * f64::from(i)
                    }
                ])
            })
            .chain([json!(["<mask>", 0.0])])
            .collect();
        let added = |id: usize, content: &str| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
        let special = |name: &str, id: usize| json!({ "id": name, "ids": [id], "tokens": [name] });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
            "added_tokens": [added(0, "<s>"), added(1, "<pad>"), added(2, "</s>"), added(3, "<unk>"), added(20, "<mask>")],
            "pre_tokenizer": { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
            "post_processor": { "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "</s>", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
                "special_tokens": { "<s>": special("<s>", 0), "</s>": special("</s>", 2) } },
            "model": { "type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": false },
        })
        .to_string()
    }

    fn cut(json: &str, text: &str) -> Vec<String> {
        let tokenizer: Tokenizer = json.parse().expect("a tokeniser");
        tokenizer
            .encode(text, true)
            .expect("pieces")
            .get_tokens()
            .to_vec()
    }

    #[test]
    fn texts_are_cut_as_before_by_the_pieces_that_they_use() {
        let texts = [
            ("good goodness", 1.0),
            ("bad app", 1.0),
            ("good app 日", 1.0),
        ];
        let mut pieces = Pieces::read(&unigram()).expect("pieces");
        pieces.keep_used(&texts, 2).expect("cut");
        let json = pieces.to_json().expect("JSON");
        // `▁bad` and `ness` occur once, `goo` and the letters never.
        let left: Vec<&str> = pieces
            .pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect();
        assert_eq!(
            left,
            [
                "<s>", "<pad>", "</s>", "<unk>", "▁", "▁good", "▁app", "日", "<mask>"
            ]
        );
        assert_eq!(
            pieces.origins().collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 13, 19, 20].map(Some)
        );
        for text in ["good app", "good good 日"] {
            assert_eq!(cut(&json, text), cut(&unigram(), text), "{text}");
        }
        let tokenizer: Tokenizer = json.parse().expect("a tokeniser");
        assert_eq!(
            (
                tokenizer.token_to_id("<mask>"),
                tokenizer.get_vocab_size(true)
            ),
            (Some(8), 9)
        );
    }

    #[test]
    fn a_short_vocabulary_leaves_nothing_unknown() {
        let many: Vec<String> = (0..30)
            .map(|i| format!("good app 🫶{}", " ".repeat(i)))
            .collect();
        let texts: Vec<(&str, f64)> = many
            .iter()
            .map(|text| (text.as_str(), 1.0))
            .chain([("bad 日", 0.5)])
            .collect();
        let mut pieces = Pieces::read(&unigram()).expect("pieces");
        pieces.limit_size(&texts, BYTES + 5 + 4).expect("shrunk");
        assert_eq!(pieces.size(), BYTES + 5 + 4, "five are special");
        let json = pieces.to_json().expect("JSON");
        assert_eq!(
            cut(&json, " good\n app🫶 "),
            ["<s>", "▁good", "▁app", "🫶", "</s>"]
        );
        assert_eq!(cut(&json, "é"), ["<s>", "▁", "<0xC3>", "<0xA9>", "</s>"]);
        let error = Pieces::read(&unigram())
            .and_then(|mut pieces| pieces.limit_size(&texts, 261))
            .expect_err("an error")
            .to_string();
        assert!(
            error.contains("no room beside 256 bytes and 5 special pieces"),
            "{error}"
        );
    }

    #[test]
    fn other_tokenisers_are_refused() {
        let wordpiece =
            crate::model::wordpiece::learn(["good bad"].into_iter(), 50).expect("a tokeniser");
        let nested = unigram().replace("\"TemplateProcessing\"", "\"Sequence\"");
        assert!(
            Pieces::read(&nested)
                .is_err_and(|error| error.to_string().contains("post-processor is Sequence"))
        );
        let plain = Pieces::read(&unigram().replace(
            "\"post_processor\":{",
            "\"post_processor\":null,\"unused\":{",
        ))
        .expect("pieces");
        assert!(
            plain
                .to_json()
                .expect("JSON")
                .contains("\"post_processor\":null")
        );
        let error = Pieces::read(&wordpiece)
            .err()
            .map(|error| error.to_string())
            .expect("an error");
        assert!(
            error.contains("the tokeniser's model is WordPiece"),
            "{error}"
        );
    }

    #[test]
    fn a_text_is_counted_once() {
        assert_eq!(
            distinct([("a", 1.0), ("b", 2.0), ("a", 3.0)].into_iter()),
            [("a", 1.0), ("b", 2.0)]
        );
    }
}
