//! Memory use of the program.

/// Peak memory of this process in bytes; `None` where the system does not report it (only Linux
/// does).
pub fn peak() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The peak resident set size in a `/proc/PID/status`, in bytes.
fn high_water_mark(status: &str) -> Option<u64> {
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix("kB")?;
    Some(1024 * kib.trim().parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_from_the_status() {
        assert_eq!(
            high_water_mark(
                "Name:\tstarsight\nVmPeak:\t  900 kB\nVmHWM:\t    123 kB\nVmRSS:\t  99 kB\n"
            ),
            Some(123 * 1024)
        );
        assert_eq!(high_water_mark("Name:\tstarsight\n"), None);
        if cfg!(target_os = "linux") {
            assert!(peak().is_some_and(|bytes| bytes > 1 << 20), "{:?}", peak());
        }
    }
}
