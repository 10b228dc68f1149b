//! A real `postern serve` in a process of its own, with its log.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use postern::foundation::Bound;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::common::{World, eventually, within};

/// A `postern serve`; it is killed when it is dropped.
pub struct Serving {
    child: Child,
    said: Arc<Mutex<String>>,
    /// Told of each line that is said.
    heard: Arc<Notify>,
    readers: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Stops the proxy of this world and starts one in a process of its own instead, on the same folder. The world's
    /// `connect` leads to it from then on.
    pub async fn instead_of(world: &mut World, arguments: &[&str]) -> Serving {
        world.stop_serving().await;
        let mut serving = Self::start(&world.config_file(), arguments);
        serving.ready(world).await;
        serving
    }

    /// Starts the program with these arguments before `serve`, and does not wait.
    pub fn start(config: &Path, arguments: &[&str]) -> Serving {
        let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_postern")));
        command.arg("--config").arg(config).args(arguments).arg("serve");
        for name in ["POSTERN_CONFIG", "RUST_LOG", "CREDENTIALS_DIRECTORY", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::new(Notify::new());
        let readers = vec![
            read(child.stdout.take().unwrap(), Arc::clone(&said), Arc::clone(&heard)),
            read(child.stderr.take().unwrap(), Arc::clone(&said), Arc::clone(&heard)),
        ];
        Serving { child, said, heard, readers }
    }

    /// Waits until it serves, and tells the world where.
    pub async fn ready(&mut self, world: &mut World) {
        within("`postern is ready`", async {
            loop {
                // Asked for before it is looked at, so that nothing that is said meanwhile is missed.
                let more = self.heard.notified();
                if self.said().lines().any(|line| line == "postern is ready") {
                    return;
                }
                tokio::select! {
                    () = more => {}
                    status = self.child.wait() => panic!("it ended with {}:\n{}", status.unwrap(), self.said()),
                }
            }
        })
        .await;
        let said = self.said();
        world.bound = said.lines().filter_map(bound).collect();
        assert!(!world.bound.is_empty(), "{said}");
    }

    /// Everything it has said so far on stdout and stderr, the log among it.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until the log holds this text.
    pub async fn says(&self, text: &str) {
        eventually(&format!("`{text}` in the log"), async || self.said().contains(text)).await;
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let process = nix::unistd::Pid::from_raw(i32::try_from(self.process()).unwrap());
        nix::sys::signal::kill(process, signal).unwrap();
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended; its status and all that it said.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = within("the process to end", self.child.wait()).await.unwrap();
        for reader in self.readers {
            within("the last words", reader).await.unwrap();
        }
        let said = self.said.lock().unwrap().clone();
        (status, said)
    }
}

fn read(
    stream: impl AsyncRead + Unpin + Send + 'static,
    said: Arc<Mutex<String>>,
    heard: Arc<Notify>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).await.unwrap_or(0) > 0 {
            said.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            heard.notify_one();
            line.clear();
        }
    })
}

/// `imap starttls 127.0.0.1:1143`
fn bound(line: &str) -> Option<Bound> {
    let mut words = line.split(' ');
    let (protocol, tls, address) = (words.next()?, words.next()?, words.next()?);
    let known = matches!(protocol, "smtp" | "imap" | "pop3") && words.next().is_none();
    known.then(|| Bound { protocol: protocol.to_owned(), tls: tls.to_owned(), address: address.to_owned() })
}
