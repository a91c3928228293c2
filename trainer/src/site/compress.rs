//! Precompressed files, for servers that send them: nginx with `gzip_static` and `brotli_static`,
//! Caddy with `precompressed`.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, write::GzEncoder};

use super::Written;

/// File endings that compress well. Weights do not.
const KINDS: [&str; 8] = [
    "html",
    "js",
    "css",
    "wasm",
    "svg",
    "json",
    "txt",
    "webmanifest",
];

/// Files smaller than this are not compressed.
const SMALLEST: usize = 1024;

/// brotli's quality. The page's own code delays every visitor and is small enough for a higher one:
/// a fourteenth smaller, for a second of work.
fn brotli_quality(bytes: usize) -> i32 {
    if bytes < 1 << 20 { 10 } else { 9 }
}

/// Writes the compressed forms of the file `path` in the folder `root` beside it.
///
/// # Errors
/// When the file cannot be read, or the compressed forms not written.
pub(super) fn write_compressed(root: &Path, path: &str) -> Result<Written> {
    let mut written = Written { files: 0, bytes: 0 };
    let kind = path.rsplit('.').next().unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Ok(written);
    }
    let source = root.join(path);
    let content = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
    for (ending, form) in
        compressed(&content).with_context(|| format!("compressing {}", source.display()))?
    {
        let target = root.join(format!("{path}.{ending}"));
        fs::write(&target, &form).with_context(|| format!("writing {}", target.display()))?;
        written.files += 1;
        written.bytes += form.len() as u64;
    }
    Ok(written)
}

/// The compressed forms that are smaller than `content`: file ending and bytes.
fn compressed(content: &[u8]) -> std::io::Result<Vec<(&'static str, Vec<u8>)>> {
    if content.len() < SMALLEST {
        return Ok(Vec::new());
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(content)?;
    let mut brotli = Vec::new();
    let parameters = BrotliEncoderParams {
        quality: brotli_quality(content.len()),
        size_hint: content.len(),
        ..BrotliEncoderParams::default()
    };
    brotli::BrotliCompress(&mut &*content, &mut brotli, &parameters)?;
    let forms = [("gz", gzip.finish()?), ("br", brotli)];
    Ok(forms
        .into_iter()
        .filter(|(_, form)| form.len() < content.len())
        .collect())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        let content = "stars and more stars ".repeat(200).into_bytes();
        let forms = compressed(&content).unwrap();
        let [("gz", gzip), ("br", brotli)] = forms.as_slice() else {
            panic!("two forms")
        };
        let (mut from_gzip, mut from_brotli) = (Vec::new(), Vec::new());
        flate2::read::GzDecoder::new(gzip.as_slice())
            .read_to_end(&mut from_gzip)
            .unwrap();
        brotli::BrotliDecompress(&mut brotli.as_slice(), &mut from_brotli).unwrap();
        assert_eq!((from_gzip, from_brotli), (content.clone(), content.clone()));
        assert!(compressed(b"short").unwrap().is_empty());

        let dir = tempfile::tempdir().unwrap();
        for name in ["page.js", "weights.safetensors"] {
            fs::write(dir.path().join(name), &content).unwrap();
        }
        assert_eq!(
            write_compressed(dir.path(), "page.js").unwrap(),
            Written {
                files: 2,
                bytes: (forms[0].1.len() + forms[1].1.len()) as u64
            }
        );
        assert_eq!(fs::read(dir.path().join("page.js.br")).unwrap(), forms[1].1);
        assert_eq!(
            write_compressed(dir.path(), "weights.safetensors").unwrap(),
            Written { files: 0, bytes: 0 }
        );
    }
}
