//! `starsight site` and `starsight serve`

use anyhow::Result;
use indicatif::HumanBytes;

use super::hub;
use crate::cli::{Serve, Site};
use crate::site::serve;
use crate::site::{Options, write_site};

pub(super) fn run(args: &Site) -> Result<()> {
    let bundle = args.model.model_folder(|| hub(&args.hub))?;
    let options = Options {
        base_url: args.base_url.clone(),
        model_hosts: args.model_hosts.clone(),
        full: args.full,
    };
    let written = write_site(&bundle, &args.out, &options)?;
    out!(
        "{}: {} files, {}; any static host can serve it",
        args.out.display(),
        written.files,
        HumanBytes(written.bytes)
    );
    Ok(())
}

pub(super) fn serve(args: &Serve) -> Result<()> {
    serve::serve(&args.dir, args.port, |address| {
        out!("http://{address}/");
        say!("a preview server for this machine only; stop it with Ctrl-C");
    })
}
