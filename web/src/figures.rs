//! Formats numbers for people.

/// `12345.6` as `12,346`.
pub fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A speed: with one decimal below 10, a whole number above.
pub fn speed(number: f64) -> String {
    if number < 9.95 {
        format!("{:.1}", number.max(0.0))
    } else {
        whole(number)
    }
}

/// Bytes as megabytes: `91.2`.
pub fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

/// A count of weights: `22.7 million`.
pub fn millions(number: f64) -> String {
    if number < 999_500.0 {
        whole(number)
    } else {
        format!("{:.1} million", number / 1e6)
    }
}

/// Dollars: `$0.97`.
pub fn dollars(amount: f64) -> String {
    format!("${amount:.2}")
}

/// A share as a percentage: `71.2%`.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A duration: `42 ms`, `7.3 s`, `2 min 5 s`, `1 h 12 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Remaining time in whole seconds, at least one.
pub fn time_left(seconds: f64) -> String {
    duration(seconds.ceil().max(1.0)).replace(".0 s", " s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(whole(0.0), "0");
        assert_eq!(whole(999.0), "999");
        assert_eq!(whole(1234567.4), "1,234,567");
        assert_eq!(speed(3.25), "3.2");
        assert_eq!(speed(412.3), "412");
        assert_eq!(millions(4386178.0), "4.4 million");
        assert_eq!(millions(29125.0), "29,125");
        assert_eq!(percent(0.7116), "71.2%");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(0.0184), "18 ms");
        assert_eq!(duration(0.9996), "1.0 s");
        assert_eq!(duration(9.96), "10 s");
        assert_eq!(duration(125.0), "2 min 5 s");
        assert_eq!(duration(4320.0), "1 h 12 min");
        assert_eq!(time_left(0.2), "1 s");
        assert_eq!(time_left(8.1), "9 s");
    }
}
