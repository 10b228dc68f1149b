//! The signals that end a command which runs until it is told to stop.

use std::io;

use crate::admin::cli::failure::Failure;

/// Signals are heard from the moment this is made, so that none is lost while the command starts.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// Where the end of the terminal ends the command too.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    terminate: tokio::signal::windows::CtrlShutdown,
}

impl Signals {
    /// Starts listening to SIGTERM and SIGINT. Must be called within the runtime.
    pub(super) fn listen() -> Result<Self, Failure> {
        Self::register().map_err(not_heard)
    }

    /// The same, and to SIGHUP, which comes when the terminal is closed; unless whoever started this had it ignored, as `nohup`
    /// does.
    pub(super) fn listen_with_hangup() -> Result<Self, Failure> {
        let signals = Self::listen()?;
        #[cfg(unix)]
        if !is_hangup_ignored() {
            use tokio::signal::unix::{SignalKind, signal};

            return Ok(Self { hangup: Some(signal(SignalKind::hangup()).map_err(not_heard)?), ..signals });
        }
        Ok(signals)
    }

    #[cfg(unix)]
    fn register() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    #[cfg(windows)]
    fn register() -> io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()?, terminate: tokio::signal::windows::ctrl_shutdown()? })
    }

    /// Waits for one of them.
    pub(super) async fn stop(&mut self) {
        #[cfg(unix)]
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        #[cfg(windows)]
        let hangup = std::future::pending::<()>();
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = hangup => {}
        }
    }
}

/// Whether this process was started with SIGHUP ignored. Where the system does not tell, it may have been.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_none_or(|mask| mask & HANGUP != 0)
}

/// Calls `act` at each SIGHUP, which administrators send to have files read anew. Windows has no such signal.
#[cfg(unix)]
pub(super) fn at_each_hangup(mut act: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = signal(SignalKind::hangup()).map_err(not_heard)?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            act();
        }
    });
    Ok(())
}

/// Windows has no such signal.
#[cfg(not(unix))]
pub(super) fn at_each_hangup(_act: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    Ok(())
}

fn not_heard(error: io::Error) -> Failure {
    let message = format!("signals cannot be listened to: {error}");
    Failure::operation("signals", message, "Look at the limits on open files of this user.")
}
