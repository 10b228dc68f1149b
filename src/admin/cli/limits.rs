//! What the system grants this process: open files enough for its connections, and no dumps of its memory.

use crate::admin::cli::output::{Output, Tone};

/// When this is set, the process may be dumped and looked into. A dump holds access tokens and keys.
const DUMPS_ALLOWED: &str = "POSTERN_ALLOW_DUMPS";

/// Files that are open beside those of sessions: listeners, the store, the token service, and clients that are turned away.
const OTHER_FILES: u64 = 384;

/// A session holds two: the client's connection and the one to Exchange.
const FILES_PER_CONNECTION: u64 = 2;

/// Raises the limit on open files as far as the system lets us and returns how many of `connections` that is enough for. Fewer
/// are told, with the way to more: a connection beyond the limit would hang, while one beyond `limits.connections` is told
/// to come later.
pub(super) fn grant_files(output: &Output, connections: usize) -> usize {
    let Some(files) = raise_open_files(files_for(connections)) else { return connections };
    let possible = connections_for(files);
    if possible >= connections {
        return connections;
    }
    output.problem(
        Tone::Warning,
        &format!(
            "limits.connections is {connections}, but the {files} open files that the system allows are enough for {possible}"
        ),
        Some(&format!(
            "Allow {} open files (`LimitNOFILE=` in a systemd unit, `ulimit -Hn` in a shell), or lower limits.connections.",
            files_for(connections)
        )),
    );
    possible
}

fn connections_for(files: u64) -> usize {
    let possible = files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION;
    usize::try_from(possible).unwrap_or(usize::MAX).max(1)
}

fn files_for(connections: usize) -> u64 {
    u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(FILES_PER_CONNECTION).saturating_add(OTHER_FILES)
}

/// Raises the soft limit to the hard one, or to what is needed; the limit that then holds.
#[cfg(unix)]
fn raise_open_files(needed: u64) -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    // macOS calls the hard limit endless and refuses more than a number of its own; this much it grants always.
    const ALWAYS_GRANTED: u64 = 10_240;

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    for wanted in [hard, needed.min(hard), ALWAYS_GRANTED.min(hard)] {
        if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
            return Some(wanted);
        }
    }
    Some(soft)
}

/// Windows knows no such limit for sockets.
#[cfg(not(unix))]
fn raise_open_files(_needed: u64) -> Option<u64> {
    None
}

/// Sees to it that the system writes no dump of this process, and that other processes of the same user cannot look into it:
/// its memory holds access tokens and keys.
pub(super) fn forbid_dumps(output: &Output) {
    if std::env::var_os(DUMPS_ALLOWED).is_some_and(|value| !value.is_empty()) {
        output.problem(
            Tone::Warning,
            &format!("{DUMPS_ALLOWED} is set: a dump of this process holds access tokens and keys"),
            Some(&format!("Unset {DUMPS_ALLOWED} when you have found what you look for.")),
        );
        return;
    }
    if let Err(error) = forbid() {
        output.problem(
            Tone::Warning,
            &format!("the system cannot be kept from dumping this process: {error}"),
            Some("Set `LimitCORE=0` in its systemd unit, or `ulimit -c 0` in the shell that starts it."),
        );
    }
}

#[cfg(unix)]
fn forbid() -> nix::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};

    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// On Windows dumps are a setting of the system (Windows Error Reporting).
#[cfg(not(unix))]
fn forbid() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{connections_for, files_for};

    #[test]
    fn the_files_said_to_be_needed_are_enough() {
        for connections in [1, 100, 20_000, 1_000_000] {
            assert_eq!(connections_for(files_for(connections)), connections);
        }
        assert_eq!(connections_for(64), 1, "however few, it is not none");
    }
}
