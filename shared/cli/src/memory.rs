//! How much memory a stage may use: what a person says (`8GiB`), or what the machine and its control groups leave.

use std::fs;
use std::path::Path;

/// Reads an amount of memory: a number of bytes, or a number with a unit, `8GiB`, `8G`, `512MiB`, `1.5TB`.
///
/// # Errors
/// What is wrong with the text, for the command line.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (steps, base) = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => (0, 1024.0),
        "k" | "kib" => (1, 1024.0),
        "m" | "mib" => (2, 1024.0),
        "g" | "gib" => (3, 1024.0),
        "t" | "tib" => (4, 1024.0),
        "kb" => (1, 1000.0),
        "mb" => (2, 1000.0),
        "gb" => (3, 1000.0),
        "tb" => (4, 1000.0),
        other => return Err(format!("expected a unit such as MiB, GiB or GB, found {other}")),
    };
    let number: f64 = number.parse().map_err(|_| "expected a number with a unit, such as 8GiB".to_owned())?;
    let bytes = number * f64::powi(base, steps);
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err("expected more than 0 bytes".to_owned()) }
}

/// Bytes that this process may still take: what the machine has free or could free, and no more than its control groups
/// allow. `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    available_below(Path::new("/"))
}

/// As [`available_bytes`], with the system's files under `root`.
fn available_below(root: &Path) -> Option<u64> {
    let machine = machine(&fs::read_to_string(root.join("proc/meminfo")).ok()?)?;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    Some(groups.lines().filter_map(|line| group(root, line)).fold(machine, u64::min))
}

fn machine(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(kibibytes.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// What one line of `/proc/self/cgroup` leaves: the least of the group and the groups that it is in.
fn group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, limit, usage, cache) = if controllers.is_empty() {
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ")
    } else if controllers.split(',').any(|name| name == "memory") {
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
    } else {
        return None;
    };
    let mount = root.join(mount);
    // In a container the path may be that of the host, of which only the mount's root is there.
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter_map(|group| {
            let number = |name: &str| fs::read_to_string(mount.join(group).join(name)).ok()?.trim().parse::<u64>().ok();
            let (limit, used) = (number(limit)?, number(usage)?);
            let statistics = fs::read_to_string(mount.join(group).join("memory.stat")).unwrap_or_default();
            let cached = statistics.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
            // Pages of files that were read once are given back before anyone is refused.
            Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        let amounts = ["8GiB", "8g", "512 MiB", "1.5GB", "4096", "2k"].map(|text| parse_bytes(text).unwrap());
        assert_eq!(amounts, [8 << 30, 8 << 30, 512 << 20, 1_500_000_000, 4096, 2048]);
        for wrong in ["", "GiB", "8 apples", "-1", "0", "1e99GiB", "8..1G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    /// A system of its own: (file, content) pairs.
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn system(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        available_below(root.path())
    }

    const FREE: (&str, &str) = ("proc/meminfo", "MemTotal:  90 kB\nMemAvailable:    8000 kB\n");

    #[test]
    fn control_groups_lower_what_the_machine_has() {
        assert_eq!(system(&[]), None);
        assert_eq!(system(&[FREE]), Some(8000 * 1024));
        let second = [
            FREE,
            ("proc/self/cgroup", "0::/user/job\n"),
            ("sys/fs/cgroup/user/job/memory.max", "max\n"),
            ("sys/fs/cgroup/user/job/memory.current", "1000\n"),
            ("sys/fs/cgroup/user/memory.max", "500000\n"),
            ("sys/fs/cgroup/user/memory.current", "200000\n"),
            ("sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 50000\n"),
        ];
        assert_eq!(system(&second), Some(350_000));
        let first = [
            FREE,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/host\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n"),
        ];
        assert_eq!(system(&first), Some(200_000));
    }
}
