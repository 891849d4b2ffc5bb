//! What the operating system accounts to this process.

/// Bytes that are in RAM, as Linux tells them.
#[cfg(target_os = "linux")]
pub(super) fn resident_bytes() -> Option<u64> {
    std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident)
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub(super) fn resident_bytes() -> Option<u64> {
    None
}

#[cfg(any(test, target_os = "linux"))]
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_linux_says_and_is_unknown_where_it_does_not() {
        assert_eq!(resident("Name:\tfanfare\nVmHWM:\t  9000 kB\nVmRSS:\t    1500 kB\n"), Some(1500 * 1024));
        assert_eq!((resident("Name:\tfanfare\n"), resident("VmRSS:\tmuch")), (None, None));
    }
}
