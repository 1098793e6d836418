//! How much memory this process may use.

use std::path::Path;

/// Value that a cgroup v1 reports for "no limit" is near `i64::MAX`; anything above this is none.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes the process may use: the smallest of the machine's memory and its control group's limits.
pub(super) fn available() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = group.iter().filter_map(|path| read_limit(Path::new(path)));
    limits.chain(own_group_limit()).chain(machine).min().unwrap_or(1 << 30)
}

/// Limit of the control group (v2) that this process is in, which need not be the root that is mounted.
fn own_group_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    read_limit(&Path::new("/sys/fs/cgroup").join(path).join("memory.max"))
}

fn read_limit(path: &Path) -> Option<u64> {
    let limit = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (limit < NO_LIMIT).then_some(limit)
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_total() {
        assert_eq!(mem_total("MemTotal:        1024 kB\nMemFree: 3 kB\n"), Some(1 << 20));
        assert_eq!(mem_total("nothing"), None);
        assert!(available() > 0);
    }
}
