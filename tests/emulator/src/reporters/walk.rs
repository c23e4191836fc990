//! The processes of a real machine, as Scope's probe reads them.

use std::fs;
use std::path::Path;

use crate::truth::Process;

/// Size of a page, in bytes.
const PAGE: f64 = 4096.0;

/// The processes below a root that looks like `/proc`. One that cannot be read, or goes away
/// meanwhile, is left out, as is the share of the processor, which takes two looks to know.
pub(crate) fn processes(root: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| process(root, pid)).collect()
}

fn process(root: &Path, pid: u32) -> Option<Process> {
    let folder = root.join(pid.to_string());
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The second field is the program's name, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let open_files = fs::read_dir(folder.join("fd")).ok()?.count();

    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut name = String::from_utf8_lossy(first).into_owned();
    if name.is_empty() {
        name = match fs::read_to_string(folder.join("comm")) {
            Ok(comm) => format!("[{}]", comm.trim()),
            Err(_) => "(unknown)".to_owned(),
        };
    }
    Some(Process {
        pid,
        ppid: field(4).parse().unwrap_or(0),
        name,
        cmdline: String::from_utf8_lossy(&line).replace('\0', " "),
        threads: field(20).parse().unwrap_or(1),
        memory: field(24).parse().map_or(0.0, |pages: f64| pages * PAGE),
        open_files: u32::try_from(open_files).unwrap_or(u32::MAX),
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_scope_reads() {
        let root = tempfile::tempdir().unwrap();
        let make = |pid: &str, cmdline: &str, stat: &str| {
            let folder = root.path().join(pid);
            fs::create_dir_all(folder.join("fd")).unwrap();
            fs::write(folder.join("fd/0"), "").unwrap();
            fs::write(folder.join("cmdline"), cmdline).unwrap();
            fs::write(folder.join("comm"), "kthread\n").unwrap();
            fs::write(folder.join("stat"), stat).unwrap();
        };
        let rest = "S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 100 4096 25 1";
        make(
            "12",
            "/bin/web\0--port\080\0",
            &format!("12 (we) b) {rest}"),
        );
        make("2", "", &format!("2 (kthread) {rest}"));
        make("3", "", "3 (broken");
        fs::create_dir(root.path().join("self")).unwrap();
        let mut found = processes(root.path());
        found.sort_by_key(|process| process.pid);
        let [kernel, web] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(
            (kernel.name.as_str(), kernel.cmdline.as_str()),
            ("[kthread]", "")
        );
        assert_eq!(
            (web.name.as_str(), web.cmdline.as_str()),
            ("/bin/web", "/bin/web --port 80 ")
        );
        assert_eq!((web.ppid, web.threads, web.open_files), (7, 3, 1));
        assert_eq!(web.memory, 25.0 * 4096.0);
        assert!(processes(Path::new("/nowhere")).is_empty());
    }
}
