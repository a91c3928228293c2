//! Runs other programs. Commands are printed; failures name the command and what to do about it.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The result of a step; the error is a sentence for the user.
pub type Result<T = ()> = std::result::Result<T, String>;

/// A program to run, with its arguments.
pub struct Cmd {
    command: Command,
    hint: Option<String>,
}

impl Cmd {
    /// A command with this process's environment, without the variables that `cargo run` added for
    /// this program: build scripts that watch them would run again each time cargo is called
    /// alternately from here and by hand.
    pub fn new(program: impl AsRef<OsStr>) -> Cmd {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text == "CARGO"
                || text.starts_with("CARGO_PKG_")
                || text.starts_with("CARGO_MANIFEST_")
            {
                command.env_remove(&name);
            }
        }
        Cmd {
            command,
            hint: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Cmd {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Cmd {
        self.command.args(args);
        self
    }

    /// Adds arguments written as one line.
    pub fn words(self, line: &str) -> Cmd {
        self.args(line.split_whitespace())
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Cmd {
        self.command.env(name, value);
        self
    }

    /// Unsets a variable.
    pub fn without(mut self, name: &str) -> Cmd {
        self.command.env_remove(name);
        self
    }

    /// Runs in this folder.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Cmd {
        self.command.current_dir(dir);
        self
    }

    /// Hides its standard output; errors are shown.
    pub fn quiet(mut self) -> Cmd {
        self.command.stdout(Stdio::null());
        self
    }

    /// Sets the advice printed when it fails.
    pub fn hint(mut self, hint: impl Into<String>) -> Cmd {
        self.hint = Some(hint.into());
        self
    }

    /// Runs it with its output shown; it must succeed.
    pub fn run(mut self) -> Result {
        self.show();
        let status = self
            .command
            .status()
            .map_err(|e| self.failed(&e.to_string()))?;
        self.succeeded(status)
    }

    /// Runs it with its output shown, and kills it after `limit`.
    pub fn run_within(mut self, limit: Duration) -> Result {
        self.show();
        let mut child = self
            .command
            .spawn()
            .map_err(|e| self.failed(&e.to_string()))?;
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait().map_err(|e| self.failed(&e.to_string()))? {
                return self.succeeded(status);
            }
            if Instant::now() > end {
                // It may have ended by itself in the meantime; then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
                return Err(self.failed(&format!("timed out after {} s", limit.as_secs())));
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Runs it without showing output, and returns its standard output if it succeeds.
    pub fn read(mut self) -> Option<String> {
        let output = self.command.stdin(Stdio::null()).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Replaces this process by the command (exec), so that signals reach it. Returns only on
    /// failure.
    pub fn exec(mut self) -> Result {
        self.show();
        let error = self.command.exec();
        Err(self.failed(&error.to_string()))
    }

    fn show(&self) {
        eprintln!("    $ {}", self.line());
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let quoted = words.map(|word| {
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.into_owned()
            } else {
                format!("'{word}'")
            }
        });
        quoted.collect::<Vec<_>>().join(" ")
    }

    fn succeeded(&self, status: ExitStatus) -> Result {
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&status.to_string()))
        }
    }

    fn failed(&self, why: &str) -> String {
        let hint = self
            .hint
            .as_ref()
            .map(|hint| format!("\n{hint}"))
            .unwrap_or_default();
        format!("`{}` failed: {why}{hint}", self.line())
    }
}

/// The programs of this name on PATH, in the order of PATH.
pub fn on_path(program: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    folders
        .into_iter()
        .map(move |folder| folder.join(program))
        .filter(|file| file.is_file())
}

/// Runs one step: prints its name, then its duration.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let done = work()?;
    eprintln!("    {:.1} s", start.elapsed().as_secs_f32());
    Ok(done)
}

/// Formats a file system error with the file's name.
pub fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Locks the file for as long as the returned value lives; waits while another run holds the lock.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(at(path))?;
    if file.try_lock().is_err() {
        eprintln!(
            "    Waiting for another run to finish ({}).",
            path.display()
        );
        file.lock().map_err(at(path))?;
    }
    Ok(file)
}
