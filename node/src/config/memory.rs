//! How much memory this process may use.

use std::path::{Path, PathBuf};

/// Value that a cgroup v1 reports for "no limit" is near `i64::MAX`; anything above this is none.
const NO_LIMIT: u64 = 1 << 60;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Bytes the process may use: the smallest of the machine's memory and its control groups' limits.
pub(super) fn available() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| read_limit(&path));
    limits.chain(machine).min().unwrap_or(1 << 30)
}

/// Files with the limits of the groups in `/proc/self/cgroup` and of all groups above them: any of them binds.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        // Version 2 names no controllers.
        let (mount, file) = match controllers {
            "" => (PathBuf::from(ROOT), "memory.max"),
            c if c.split(',').any(|c| c == "memory") => {
                (Path::new(ROOT).join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(group.ancestors().map(|above| mount.join(above).join(file)));
    }
    files
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

    #[test]
    fn groups_of_both_versions_and_those_above_count() {
        let files = limit_files("9:cpu:/x\n4:memory,hugetlb:/a/b\n0::/c:d\n");
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/c:d/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert!(limit_files("").is_empty());
    }
}
