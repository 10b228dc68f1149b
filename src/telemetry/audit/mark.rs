//! The newest entry as it is noted outside of the store: whoever writes to the store alone cannot put an older end back.

use std::io::{self, Write};
use std::path::Path;

use crate::base::files::open_private;
use crate::store::{AuditTail, Seal};
use crate::telemetry::audit::chain::{Chain, hex};

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::telemetry::audit) enum Mark {
    /// There is none.
    None,
    /// That this entry was there.
    Of(AuditTail),
    /// Nothing that Postern has written.
    Unreadable,
}

/// Reads it.
pub(in crate::telemetry::audit) fn read(path: &Path, instance: &str, chain: &Chain) -> Mark {
    let text = match std::fs::read_to_string(path) {
        // What a power cut leaves of one that was not flushed.
        Ok(text) if text.chars().all(|c| c == '\0') => return Mark::None,
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Mark::None,
        Err(_) => return Mark::Unreadable,
    };
    parse(&text, instance, chain).map_or(Mark::Unreadable, Mark::Of)
}

fn parse(text: &str, instance: &str, chain: &Chain) -> Option<AuditTail> {
    let mut words = text.split_whitespace();
    let (number, seal, own) = (words.next()?.parse().ok()?, octets(words.next()?)?, octets(words.next()?)?);
    let tail = AuditTail { number, seal };
    (chain.of_mark(instance, tail) == own).then_some(tail)
}

/// Writes it in the place of what was there. It need not be flushed: one that lags behind is as true, and shows only less.
///
/// # Errors
/// Those of the file system.
pub(in crate::telemetry::audit) fn write(
    path: &Path,
    instance: &str,
    tail: AuditTail,
    chain: &Chain,
) -> io::Result<()> {
    let line = format!("{} {} {}\n", tail.number, hex(&tail.seal), hex(&chain.of_mark(instance, tail)));
    // Of several processes each writes its own.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    drop(std::fs::remove_file(&new));
    let written = open_private(&new).and_then(|mut file| file.write_all(line.as_bytes()));
    let written = written.and_then(|()| std::fs::rename(&new, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&new)))
}

fn octets(text: &str) -> Option<Seal> {
    let octet = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let octets: Option<Vec<u8>> = (0..text.len()).step_by(2).map(octet).collect();
    octets?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Secret;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_none_is_made_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit-newest");
        let (chain, other) = (Chain::new(&Secret::new([7; 32])), Chain::new(&Secret::new([8; 32])));
        assert_eq!(read(&path, "one", &chain), Mark::None);
        let tail = AuditTail { number: 12, seal: [3; 32] };
        write(&path, "one", tail, &chain).unwrap();
        assert_eq!(read(&path, "one", &chain), Mark::Of(tail));
        for mark in [read(&path, "two", &chain), read(&path, "one", &other)] {
            assert_eq!(mark, Mark::Unreadable);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for wrong in [text.replacen("12", "13", 1), text.replacen("03", "04", 1), "12 zz".to_owned(), "x".to_owned()] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(read(&path, "one", &chain), Mark::Unreadable);
        }
        for cut in ["", "\0\0\0"] {
            std::fs::write(&path, cut).unwrap();
            assert_eq!(read(&path, "one", &chain), Mark::None, "as after a power cut");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    }
}
