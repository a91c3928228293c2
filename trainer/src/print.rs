//! Printing: results to standard output, everything else to standard error. Either may fail, on a
//! full disk or when the reader has closed the pipe.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::exit;

/// Prints a line of results, as [`out`] does.
macro_rules! out {
    ($($line:tt)*) => { $crate::print::out(format_args!($($line)*)) };
}

/// Prints a line about the work in progress, as [`say`] does.
macro_rules! say {
    ($($line:tt)*) => { $crate::print::say(format_args!($($line)*)) };
}

/// Prints a line of results to standard output. Results come last, so a failure ends the program:
/// with 1 and a message, or silently with 0 if the reader has closed the pipe (`| head`).
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

/// Prints a line to standard error. A failure is ignored, and the work goes on.
pub fn say(line: Arguments<'_>) {
    writeln!(io::stderr(), "{line}").ok();
}
