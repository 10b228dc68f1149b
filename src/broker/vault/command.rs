//! Asking a program for the master key: a key service's own tool, such as `vault` or `aws`. No shell is involved.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::debug;
use zeroize::{Zeroize, Zeroizing};

use crate::broker::vault::source::LONGEST_KEY_TEXT_OCTETS;

/// How long it may take. A key service on the other side of the world answers within seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of what it says on stderr is shown.
const SHOWN_OCTETS: usize = 1024;

/// So many characters of base64 in a row may be a key or a token, and are not shown: a key has 43.
const SECRET_CHARACTERS: usize = 43;

/// Runs the program and gives what it prints on stdout.
///
/// # Errors
/// With what went wrong, and what the program said on stderr.
pub(in crate::broker::vault) fn run(words: &[String]) -> Result<Zeroizing<String>, String> {
    run_for(words, PATIENCE)
}

fn run_for(words: &[String], patience: Duration) -> Result<Zeroizing<String>, String> {
    let end = Instant::now() + patience;
    let (program, arguments) = words.split_first().ok_or("it names no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it has started can be ended with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let mut running = Running { child, ended: false };
    // One octet more than is allowed tells that it is too much.
    let printed = read(running.child.stdout.take(), LONGEST_KEY_TEXT_OCTETS + 1);
    let said = read(running.child.stderr.take(), SHOWN_OCTETS);

    let slow = || format!("it did not end within {} seconds", patience.as_secs());
    // Reading ends when stdout is closed, or when it is too much.
    let printed = match printed.recv_timeout(left(end)) {
        Ok(printed) => printed.map_err(|error| format!("what it prints cannot be read: {error}"))?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(slow()),
    };
    if printed.len() > LONGEST_KEY_TEXT_OCTETS {
        return Err(format!("it printed more than {LONGEST_KEY_TEXT_OCTETS} octets, which is no key"));
    }
    let Some(status) = running.wait_until(end) else { return Err(slow()) };
    let said = said.recv_timeout(left(end)).ok().and_then(Result::ok).unwrap_or_default();
    let said = shown(&said);
    if !status.success() {
        return Err(match said.as_str() {
            "" => format!("it ended with {status} and said nothing"),
            said => format!("it ended with {status} and said: {said}"),
        });
    }
    if !said.is_empty() {
        debug!("the command for the master key said: {said}");
    }
    match std::str::from_utf8(&printed) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err("what it prints is not text".to_owned()),
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// A program that does not outlive this: neither it nor, on Unix, what it has started.
struct Running {
    child: Child,
    /// Its number may be somebody else's by now.
    ended: bool,
}

impl Running {
    fn wait_until(&mut self, end: Instant) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.ended = true;
                    return Some(status);
                }
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        #[cfg(unix)]
        if let Ok(group) = i32::try_from(self.child.id()) {
            // What is gone already is no fault.
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

type Octets = Zeroizing<Vec<u8>>;

/// Reads up to so many octets on a thread of its own. The rest is read and thrown away, so that the program does not stand before
/// a full pipe.
fn read(stream: Option<impl Read + Send + 'static>, limit: usize) -> Receiver<io::Result<Octets>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let Some(mut stream) = stream else { return };
        let mut octets = Zeroizing::new(Vec::with_capacity(limit));
        let read = stream.by_ref().take(limit as u64).read_to_end(&mut octets);
        // Whoever waited may have given up.
        drop(sender.send(read.map(|_| octets)));
        drop(io::copy(&mut stream, &mut io::sink()));
    });
    receiver
}

/// What a program said, in one line, without what may be a secret.
fn shown(said: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(said).into_owned();
    let mut line = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        let mut run = String::new();
        for character in word.chars().map(Some).chain([None]) {
            match character {
                Some(c) if c.is_ascii_alphanumeric() || "+/-_=".contains(c) => run.push(c),
                other => {
                    line.push_str(if run.len() >= SECRET_CHARACTERS { "[hidden]" } else { &run });
                    run.zeroize();
                    line.extend(other);
                }
            }
        }
    }
    text.zeroize();
    if said.len() == SHOWN_OCTETS {
        line.push('…');
    }
    line
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<String, String> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run_for(&words, patience).map(|text| text.to_string())
    }

    #[test]
    fn what_the_program_prints_is_the_key_and_each_failure_is_told_in_its_words() {
        let long = Duration::from_secs(60);
        assert_eq!(sh("echo key; echo note >&2", long).unwrap(), "key\n");
        for (script, told) in [
            ("echo 'no such secret' >&2; exit 2", "it ended with exit status: 2 and said: no such secret"),
            ("exit 1", "it ended with exit status: 1 and said nothing"),
            ("kill -9 $$", "it ended with signal: 9 (SIGKILL) and said nothing"),
            ("head -c 5000 /dev/zero", "it printed more than 4096 octets, which is no key"),
            ("cat /dev/zero", "it printed more than 4096 octets, which is no key"),
            ("printf '\\377'", "what it prints is not text"),
            ("printf 'a\\nb\\tc\\033[0m' >&2; exit 1", "it ended with exit status: 1 and said: a b c [0m"),
        ] {
            assert_eq!(sh(script, long).unwrap_err(), told, "{script}");
        }
        let gone = run(&["/nowhere/at/all".to_owned()]).unwrap_err();
        assert!(gone.starts_with("it cannot be started: "), "{gone}");
        assert!(run(&[]).is_err());
    }

    #[test]
    fn a_key_that_is_said_on_stderr_is_not_shown_and_a_long_speech_is_cut() {
        let key = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=";
        let said = sh(
            &format!("echo 'found {key}, (hvs.{key}) arn:aws:kms:eu-west-1:111122223333:key/1' >&2; exit 3"),
            PATIENCE,
        );
        assert_eq!(
            said.unwrap_err(),
            "it ended with exit status: 3 and said: found [hidden], (hvs.[hidden]) arn:aws:kms:eu-west-1:111122223333:key/1"
        );
        let said = sh("yes 'no no no' | head -c 100000 >&2; exit 1", PATIENCE).unwrap_err();
        assert!(said.len() < 1200 && said.ends_with('…'), "{said}");
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let number = folder.path().join("number");
        let script = format!("sleep 600 & echo $! > '{}'; wait", number.display());
        let began = Instant::now();
        assert_eq!(sh(&script, Duration::from_secs(1)).unwrap_err(), "it did not end within 1 seconds");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let number: i32 = std::fs::read_to_string(number).unwrap().trim().parse().unwrap();
        let process = nix::unistd::Pid::from_raw(number);
        // Ended, and taken note of by whoever inherited it, or about to be.
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            nix::sys::signal::kill(process, None).is_err() || status.contains(") Z ")
        };
        while !gone() {
            assert!(began.elapsed() < Duration::from_secs(60), "it still runs");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn one_that_ends_and_leaves_its_stdout_open_to_others_does_not_hold_us_up() {
        let began = Instant::now();
        // The child holds stdout open, so nobody can know that nothing more comes.
        assert_eq!(sh("sleep 600 & echo key", Duration::from_secs(1)).unwrap_err(), "it did not end within 1 seconds");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
