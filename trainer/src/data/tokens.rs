//! Token ids of many texts: computed once, on all cores, and cached on disk under a hash of their
//! input.

use std::fs;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use starsight_model::bundle::hex;
use starsight_model::tokenizer::Tokenizer;

use crate::data::Texts;
use crate::system::progress::Progress;
use crate::system::{files, interrupt};

/// First bytes of a file of ids.
const MAGIC: &[u8; 8] = b"ids v2\r\n";
/// Number of files that the cache keeps, the most recently used.
const KEPT: usize = 8;
/// Fewer texts than this are faster to tokenise than to look up.
const WORTH_KEEPING: usize = 20_000;

/// The token ids of each text, special tokens included, end to end.
pub struct Tokens {
    ids: Vec<u32>,
    /// Where each text ends.
    ends: Vec<u64>,
}

impl Tokens {
    /// Tokenises the texts, or reads their ids from the cache.
    ///
    /// # Errors
    /// When a text cannot be tokenised, or the files have changed since they were read. A cache
    /// that cannot be read or written is not an error, and is not used.
    pub fn of(tokenizer: &Tokenizer, texts: &dyn Texts) -> Result<Tokens> {
        if texts.count() < WORTH_KEEPING {
            return Tokens::compute(tokenizer, texts);
        }
        let Some(path) = cache_folder().map(|folder| folder.join(file_name(tokenizer, texts)))
        else {
            return Tokens::compute(tokenizer, texts);
        };
        if let Ok(tokens) = Tokens::read(&path)
            && tokens.len() == texts.count()
        {
            // Mark the file as used, so that it is not pruned.
            if let Ok(file) = File::options().append(true).open(&path) {
                file.set_modified(SystemTime::now()).ok();
            }
            say!(
                "read the token ids of {} texts from {}",
                texts.count(),
                path.display()
            );
            return Ok(tokens);
        }
        let tokens = Tokens::compute(tokenizer, texts)?;
        if let Err(error) = tokens.write(&path).and_then(|()| prune(&path)) {
            say!("the token ids could not be cached: {error:#}");
        }
        Ok(tokens)
    }

    fn compute(tokenizer: &Tokenizer, texts: &dyn Texts) -> Result<Tokens> {
        let mut tokens = Tokens {
            ids: Vec::new(),
            ends: Vec::with_capacity(texts.count()),
        };
        let mut progress = Progress::new("tokenising", "reviews", texts.count());
        texts.for_each_text(&mut |texts| {
            for ids in tokenizer.encode_all(texts)? {
                tokens.ids.extend_from_slice(&ids);
                tokens.ends.push(tokens.ids.len() as u64);
            }
            progress.advance(texts.len(), "");
            Ok(interrupt::check()?)
        })?;
        progress.finish();
        Ok(tokens)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The ids of text `i`.
    pub fn get(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start as usize..self.ends[i] as usize]
    }

    /// Writes the number of texts and of ids, the ends, and the ids, little-endian, without a
    /// second copy in memory; and then the SHA-256 of all that.
    fn write(&self, path: &Path) -> Result<()> {
        files::write_whole(path, |out| {
            let mut hash = Sha256::new();
            let mut put = |bytes: &[u8]| {
                hash.update(bytes);
                out.write_all(bytes)
            };
            put(MAGIC)?;
            for n in [self.ends.len() as u64, self.ids.len() as u64]
                .iter()
                .chain(&self.ends)
            {
                put(&n.to_le_bytes())?;
            }
            for id in &self.ids {
                put(&id.to_le_bytes())?;
            }
            Ok(out.write_all(&hash.finalize())?)
        })
    }

    /// Reads what [`Tokens::write`] wrote.
    fn read(path: &Path) -> Result<Tokens> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut hash = Sha256::new();
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        hash.update(magic);
        let mut number = || -> Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact(&mut bytes)?;
            hash.update(bytes);
            Ok(u64::from_le_bytes(bytes))
        };
        let (texts, count) = (number()?, number()?);
        let rest = MAGIC.len() as u64 + 16 + Sha256::output_size() as u64;
        let wanted = texts
            .checked_mul(8)
            .zip(count.checked_mul(4))
            .and_then(|(ends, ids)| ends.checked_add(ids)?.checked_add(rest));
        ensure!(
            &magic == MAGIC && wanted == Some(size),
            "{} is damaged, or not a token cache",
            path.display()
        );
        let ends: Vec<u64> = (0..texts).map(|_| number()).collect::<Result<_>>()?;
        let mut ids = Vec::with_capacity(count as usize);
        let mut bytes = [0; 4];
        for _ in 0..count {
            file.read_exact(&mut bytes)?;
            hash.update(bytes);
            ids.push(u32::from_le_bytes(bytes));
        }
        let mut noted = Vec::new();
        file.read_to_end(&mut noted)?;
        // Without a checksum, ids of other texts or a flipped bit would go into training unnoticed.
        ensure!(
            noted == hash.finalize().as_slice(),
            "{} is damaged",
            path.display()
        );
        ensure!(
            ends.is_sorted() && ends.last().copied().unwrap_or(0) == count,
            "{} is damaged",
            path.display()
        );
        Ok(Tokens { ids, ends })
    }
}

/// Folder of the cached ids; `None` without a home folder.
fn cache_folder() -> Option<PathBuf> {
    Some(files::cache()?.join("tokens"))
}

/// File name for the ids of these texts with this tokeniser.
fn file_name(tokenizer: &Tokenizer, texts: &dyn Texts) -> String {
    let mut hash = Sha256::new();
    hash.update(tokenizer.to_json().unwrap_or_default());
    hash.update(tokenizer.max_length().to_le_bytes());
    hash.update(texts.fingerprint());
    format!("{}.tokens", hex(&hash.finalize()))
}

/// Removes all files of ids except the most recently used.
fn prune(newest: &Path) -> Result<()> {
    let folder = newest.parent().context("a file lies in a folder")?;
    let age = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut files: Vec<(SystemTime, PathBuf)> =
        fs::read_dir(folder)?.flatten().filter_map(age).collect();
    files.sort_unstable();
    for (_, path) in files.iter().rev().skip(KEPT) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Corpus, Labels};

    fn tokenizer(max_length: usize) -> Tokenizer {
        let json = crate::model::wordpiece::tokenizer(
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad",
            true,
        )
        .expect("a tokeniser");
        Tokenizer::from_json(json.as_bytes(), Some(max_length), 16).expect("a tokeniser")
    }

    fn corpus(folder: &Path, texts: &[&str]) -> Corpus {
        let path = folder.join("reviews.csv");
        fs::write(
            &path,
            format!(
                "review,star\n{}",
                texts
                    .iter()
                    .map(|text| format!("{text},5\n"))
                    .collect::<String>()
            ),
        )
        .expect("written");
        Corpus::read(vec![path], Labels::usual()).expect("a corpus")
    }

    #[test]
    fn ids_are_those_of_each_text_and_come_back_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::of(
            &tokenizer(16),
            &corpus(folder.path(), &["good", "", "bad good"]),
        )
        .expect("ids");
        let path = folder.path().join("ids.tokens");
        tokens.write(&path).expect("written");
        for tokens in [tokens, Tokens::read(&path).expect("read")] {
            assert_eq!(tokens.len(), 3);
            assert_eq!(
                [tokens.get(0), tokens.get(1), tokens.get(2)],
                [&[2, 5, 3][..], &[2, 3], &[2, 6, 5, 3]]
            );
        }
        let whole = fs::read(&path).expect("read");
        // Flip a byte of an id, of an end, and of the checksum.
        let flip = |at: usize| -> Vec<u8> {
            whole
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ u8::from(i == at))
                .collect()
        };
        let flipped = [whole.len() - 33, 25, whole.len() - 1].map(flip);
        let cut = [
            &b"cut"[..],
            &whole[..whole.len() - 1],
            &[&whole[..], b"x"].concat(),
            &[b"other123", &whole[8..]].concat(),
        ]
        .map(<[u8]>::to_vec);
        for damaged in flipped.into_iter().chain(cut) {
            fs::write(&path, damaged).expect("written");
            assert!(Tokens::read(&path).is_err());
        }
    }

    #[test]
    fn the_name_tells_other_texts_and_another_length() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |length, texts: [&str; 2]| {
            file_name(&tokenizer(length), &corpus(folder.path(), &texts))
        };
        let names = [
            name(16, ["ab", "c"]),
            name(16, ["a", "bc"]),
            name(8, ["ab", "c"]),
        ];
        assert!(names[0] != names[1] && names[0] != names[2]);
        assert_eq!(names[0], name(16, ["ab", "c"]));
    }
}
