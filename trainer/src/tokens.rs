//! Token ids of many texts: computed once, on all cores, and kept on disk under what they were computed from.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use starsight_model::bundle::hex;
use starsight_model::tokenizer::Tokenizer;

use crate::files;
use crate::progress::Progress;

/// Texts that are tokenised before their ids are put with the others: the room for single lists of ids stays small, however many texts there are.
const CHUNK: usize = 1 << 15;
/// Lists of ids that the cache keeps, the ones used last.
const KEPT: usize = 8;
/// Fewer texts than this are quicker tokenised than looked up.
const WORTH_KEEPING: usize = 20_000;

/// The token ids of each text, special tokens included, end to end.
pub struct Tokens {
    ids: Vec<u32>,
    /// Where each text ends.
    ends: Vec<u64>,
}

impl Tokens {
    /// Tokenises `texts`, or takes their ids from the cache.
    ///
    /// # Errors
    /// When a text cannot be tokenised. A cache that cannot be read or written is no error: it is done without.
    pub fn of(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Tokens> {
        if texts.len() < WORTH_KEEPING {
            return Tokens::compute(tokenizer, texts);
        }
        let Some(path) = cache_folder().map(|folder| folder.join(file_name(tokenizer, texts))) else { return Tokens::compute(tokenizer, texts) };
        if let Ok(tokens) = Tokens::read(&path)
            && tokens.len() == texts.len()
        {
            // Used now: what is pruned is what was not.
            if let Ok(file) = fs::File::options().append(true).open(&path) {
                file.set_modified(SystemTime::now()).ok();
            }
            eprintln!("token ids of {} texts taken from {}", texts.len(), path.display());
            return Ok(tokens);
        }
        let tokens = Tokens::compute(tokenizer, texts)?;
        if let Err(error) = tokens.write(&path).and_then(|()| prune(&path)) {
            eprintln!("the token ids are not kept for the next run: {error:#}");
        }
        Ok(tokens)
    }

    fn compute(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Tokens> {
        let mut tokens = Tokens { ids: Vec::new(), ends: Vec::with_capacity(texts.len()) };
        let mut progress = Progress::new("tokenising", "reviews", texts.len());
        for chunk in texts.chunks(CHUNK) {
            for ids in tokenizer.encode_all(chunk)? {
                tokens.ids.extend_from_slice(&ids);
                tokens.ends.push(tokens.ids.len() as u64);
            }
            progress.advance(chunk.len(), "");
        }
        progress.finish();
        Ok(tokens)
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The ids of text `i`.
    pub fn get(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start as usize..self.ends[i] as usize]
    }

    fn write(&self, path: &Path) -> Result<()> {
        let bytes = |x: &[u32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let (ids, ends) = (bytes(&self.ids), self.ends.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        let views =
            [("ids", TensorView::new(Dtype::U32, vec![self.ids.len()], &ids)?), ("ends", TensorView::new(Dtype::U64, vec![self.ends.len()], &ends)?)];
        files::write_bytes(path, &safetensors::serialize(views, None)?)
    }

    /// Reads what [`Tokens::write`] wrote.
    fn read(path: &Path) -> Result<Tokens> {
        let bytes = files::read(path)?;
        let file = SafeTensors::deserialize(&bytes)?;
        let (ids, ends) = (file.tensor("ids")?, file.tensor("ends")?);
        ensure!(ids.dtype() == Dtype::U32 && ends.dtype() == Dtype::U64, "{} holds something else", path.display());
        let ids: Vec<u32> = ids.data().as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let ends: Vec<u64> = ends.data().as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        ensure!(ends.is_sorted() && ends.last().copied().unwrap_or(0) == ids.len() as u64, "{} is damaged", path.display());
        Ok(Tokens { ids, ends })
    }
}

/// Where lists of ids are kept; nowhere when there is no home.
fn cache_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("starsight").join("tokens"))
}

/// A name for the ids of these texts by this tokeniser.
fn file_name(tokenizer: &Tokenizer, texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    hash.update(tokenizer.to_json().unwrap_or_default());
    hash.update(tokenizer.max_length().to_le_bytes());
    for text in texts {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    format!("{}.safetensors", hex(&hash.finalize()))
}

/// Removes all but the lists of ids that were used last.
fn prune(newest: &Path) -> Result<()> {
    let folder = newest.parent().context("a file lies in a folder")?;
    let age = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(folder)?.flatten().filter_map(age).collect();
    files.sort_unstable();
    for (_, path) in files.iter().rev().skip(KEPT) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_each_text_and_come_back_from_a_file() {
        let json = crate::wordpiece::tokenizer("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad", true).expect("a tokeniser");
        let tokenizer = Tokenizer::from_json(json.as_bytes(), None, 16).expect("a tokeniser");
        let tokens = Tokens::of(&tokenizer, &["good", "", "bad good"]).expect("ids");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ids.safetensors");
        tokens.write(&path).expect("written");
        for tokens in [tokens, Tokens::read(&path).expect("read")] {
            assert_eq!(tokens.len(), 3);
            assert_eq!([tokens.get(0), tokens.get(1), tokens.get(2)], [&[2, 5, 3][..], &[2, 3], &[2, 6, 5, 3]]);
        }
        fs::write(&path, b"cut").expect("written");
        assert!(Tokens::read(&path).is_err());
    }

    #[test]
    fn the_name_tells_other_texts_and_another_length() {
        let json = crate::wordpiece::tokenizer("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad", true).expect("a tokeniser");
        let tokenizer = |length| Tokenizer::from_json(json.as_bytes(), Some(length), 16).expect("a tokeniser");
        let names = [(16, ["ab", "c"]), (16, ["a", "bc"]), (8, ["ab", "c"])].map(|(length, texts)| file_name(&tokenizer(length), &texts));
        assert!(names[0] != names[1] && names[0] != names[2]);
        assert_eq!(names[0], file_name(&tokenizer(16), &["ab", "c"]));
    }
}
