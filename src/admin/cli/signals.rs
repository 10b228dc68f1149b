//! The signals that end a command which runs until it is told to stop.

use std::io;

use crate::admin::cli::failure::Failure;

/// Signals are heard from the moment this is made, so that none is lost while the command starts.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    terminate: tokio::signal::windows::CtrlShutdown,
}

impl Signals {
    /// Starts listening. Must be called within the runtime.
    pub(super) fn listen() -> Result<Self, Failure> {
        Self::register().map_err(not_heard)
    }

    #[cfg(unix)]
    fn register() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(windows)]
    fn register() -> io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()?, terminate: tokio::signal::windows::ctrl_shutdown()? })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
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
