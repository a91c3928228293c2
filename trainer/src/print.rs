//! What the program prints: results on standard output, all else on standard error. Either may be beyond writing to, on a full disk or to a reader who has gone.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::exit;

/// Prints a line of results, as [`out`] does.
macro_rules! out {
    ($($line:tt)*) => { $crate::print::out(format_args!($($line)*)) };
}

/// Prints a line of what happens meanwhile, as [`say`] does.
macro_rules! say {
    ($($line:tt)*) => { $crate::print::say(format_args!($($line)*)) };
}

/// Prints a line of results to standard output. They come last: where they cannot be written, the program ends with 1 and says why, or, when their reader has read
/// enough and gone (`| head`), with 0 and without a word.
pub fn out(line: Arguments<'_>) {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            say!("error: writing to standard output: {error}");
            exit(1);
        }
    }
}

/// Prints a line to standard error. Where it cannot be written there is nobody to tell, and the work goes on.
pub fn say(line: Arguments<'_>) {
    writeln!(io::stderr(), "{line}").ok();
}
