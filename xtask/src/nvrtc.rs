//! NVRTC, NVIDIA's run-time compiler: with it the tests compile the CUDA kernels without a GPU.

use crate::sh::{Cmd, Result, at};
use crate::versions;
use std::fs;
use std::path::{Path, PathBuf};

/// Where pip puts the library.
const LIBRARY: &str = "nvidia/cuda_nvrtc/lib/libnvrtc.so.12";

/// The folder of the library in the wanted version, if it is in the cache.
pub fn find(cache: &Path) -> Option<PathBuf> {
    let library = folder(cache).join(LIBRARY);
    let said = Cmd::new("sha256sum").arg(&library).read()?;
    let whole = said.split_whitespace().next() == Some(versions::NVRTC_SHA256);
    whole.then(|| library.parent().map(Path::to_path_buf))?
}

/// Installs the wheel from the Python registry into the cache, and checks the library's hash.
pub fn get(cache: &Path) -> Result<PathBuf> {
    let folder = folder(cache);
    if folder.is_dir() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    Cmd::new("python3")
        .words("-m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target")
        .arg(&folder)
        .arg(format!("nvidia-cuda-nvrtc-cu12=={}", versions::NVRTC))
        .hint("It needs the network. Run the command again: finished steps are skipped.")
        .run()?;
    find(cache).ok_or_else(|| {
        let (folder, version, wanted) = (folder.display(), versions::NVRTC, versions::NVRTC_SHA256);
        format!(
            "{folder}/{LIBRARY} is not the library of NVRTC {version}: its SHA-256 is not {wanted}."
        )
    })
}

fn folder(cache: &Path) -> PathBuf {
    cache.join(format!("nvrtc-{}", versions::NVRTC))
}
