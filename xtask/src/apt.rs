//! Debian packages.

use crate::sh::{Cmd, Result, on_path};

/// The packages that are not installed.
pub fn missing(packages: &[&'static str]) -> Vec<&'static str> {
    packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect()
}

fn installed(package: &str) -> bool {
    let status = Cmd::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .read();
    status.is_some_and(|status| status == "installed")
}

/// Installs the packages with one command. It removes no installed packages.
pub fn install(packages: &[&str]) -> Result {
    let names = packages.join(" ");
    if on_path("apt-get").next().is_none() {
        return Err(format!(
            "This machine has no apt-get. Missing, by their names in Debian 12: {names}.\n\
             Install the equivalent packages by hand, then run the command again."
        ));
    }
    let by_hand = format!(
        "As root, run: apt-get update && apt-get install --no-install-recommends {names}\n\
         Then run the command again."
    );
    let root = Cmd::new("id")
        .arg("-u")
        .read()
        .is_some_and(|id| id.trim() == "0");
    if !root && on_path("sudo").next().is_none() {
        return Err(format!(
            "Debian's packages {names} are missing, and only root can install them.\n{by_hand}"
        ));
    }
    let apt_get = || {
        let cmd = if root {
            Cmd::new("env")
        } else {
            Cmd::new("sudo").arg("env")
        };
        cmd.words("DEBIAN_FRONTEND=noninteractive apt-get -qq")
            .hint(&by_hand)
            .quiet()
    };
    apt_get().arg("update").run()?;
    apt_get()
        .words("install --yes --no-install-recommends --no-remove")
        .args(packages)
        .run()
}
