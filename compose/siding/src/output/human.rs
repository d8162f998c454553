//! Numbers as people say them. Pure.

/// A duration in milliseconds, in the two units that matter: `7 ms`, `1.25 s`, `3 min 20 s`, `2 h 05 min`.
pub fn duration(ms: f64) -> String {
    let ms = ms.max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and no duration has 2^64 seconds")]
    let secs = (ms / 1000.0).round() as u64;
    match ms {
        ms if ms < 10.0 && ms.fract() > 0.0 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 59_950.0 => format!("{:.1} s", ms / 1000.0),
        _ if secs < 3600 => format!("{} min {:02} s", secs / 60, secs % 60),
        _ if secs < 48 * 3600 => format!("{} h {:02} min", secs / 3600, secs % 3600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// A whole number of milliseconds as [`duration`].
pub fn millis(ms: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a duration of 2^52 ms is no duration")]
    let ms = ms as f64;
    duration(ms)
}

/// How long before `now_ms` something happened, in one unit: `3s ago`. Clocks of two machines may differ: what lies ahead is `now`.
pub fn age(now_ms: i64, then_ms: i64) -> String {
    let secs = now_ms.saturating_sub(then_ms) / 1000;
    match secs {
        i64::MIN..1 => "now".to_owned(),
        1..60 => format!("{secs}s ago"),
        60..3600 => format!("{}m ago", secs / 60),
        3600..172_800 => format!("{}h ago", secs / 3600),
        _ => format!("{}d ago", secs / 86_400),
    }
}

/// Bytes in the unit that fits: `512 B`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_ages_and_sizes_are_said_in_the_unit_that_fits() {
        let durations = [
            (0.0, "0 ms"),
            (0.4, "0.4 ms"),
            (7.0, "7 ms"),
            (999.4, "999 ms"),
            (999.6, "1.0 s"),
            (12_345.0, "12.3 s"),
            (59_960.0, "1 min 00 s"),
            (200_000.0, "3 min 20 s"),
            (7_500_000.0, "2 h 05 min"),
            (200_000_000.0, "2 d 7 h"),
        ];
        for (ms, expected) in durations {
            assert_eq!(duration(ms), expected);
        }
        let ages =
            [(-5000, "now"), (999, "now"), (3000, "3s ago"), (60_000, "1m ago"), (7_200_000, "2h ago"), (172_800_000, "2d ago")];
        for (ms, expected) in ages {
            assert_eq!(age(1_000_000_000 + ms, 1_000_000_000), expected);
        }
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (u64::MAX, "16777216.0 TiB")];
        for (size, expected) in sizes {
            assert_eq!(bytes(size), expected);
        }
    }
}
