//! Secrets that a person hands over in a file or by stdin: never by an argument, which everybody on the machine can see.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::admin::cli::failure::Failure;
use crate::base::Secret;

/// Largest secret that is taken. Refresh tokens of Entra ID have 1 to 2 KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads the one line of a file (`-` is stdin), without the line end that editors add.
pub(super) fn read_line(path: &Path, what: &str) -> Result<Secret<String>, Failure> {
    // Room for the whole at once: growing would leave copies of it behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024 + 1));
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        let message = format!("{} cannot be read: {error}", name(path));
        return Err(Failure::operation(code(what), message, "Correct the path, or let this user read the file."));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unfit(path, what, "it is larger than 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unfit(path, what, "it is not text"))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.trim().is_empty() {
        return Err(unfit(path, what, "it is empty"));
    }
    if text.contains(['\r', '\n']) {
        return Err(unfit(path, what, "it has more than one line"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// That there is something else in it.
pub(super) fn unfit(path: &Path, what: &str, why: &str) -> Failure {
    let message = format!("{} holds no {what}: {why}", name(path));
    Failure::operation(code(what), message, format!("Put the {what} into it, on one line, and nothing else."))
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { format!("`{}`", path.display()) }
}

fn code(what: &str) -> &'static str {
    if what == "refresh token" { "refresh-token-file" } else { "secret-file" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_one_line_of_a_file_with_its_spaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (content, expected) in [
            ("Copy Room 7\r\n", Some("Copy Room 7")),
            (" a ", Some(" a ")),
            ("schl\u{fc}ssel\n", Some("schl\u{fc}ssel")),
            ("", None),
            ("\n", None),
            ("one\ntwo", None),
            ("one\n\n", None),
        ] {
            std::fs::write(&path, content).unwrap();
            let read = read_line(&path, "secret").ok().map(|secret| secret.expose().clone());
            assert_eq!(read.as_deref(), expected, "{content:?}");
        }
        std::fs::write(&path, [0xff, b'a']).unwrap();
        assert!(read_line(&path, "secret").is_err());
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(read_line(&path, "secret").is_err());
    }
}
