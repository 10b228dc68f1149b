//! A process that is measured, and what the system says that it has used.

use std::ops::Sub;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A child process. It is ended when this is dropped.
pub struct Measured {
    child: Child,
}

/// What a process had used at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Time on a processor, its own and the kernel's for it, to 10 ms.
    pub cpu: Duration,
    /// Memory in use, without what the kernel keeps for its sockets.
    pub memory_kib: u64,
    /// The most memory that was ever in use.
    pub peak_kib: u64,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub cpu: Duration,
    /// Growth; negative when memory was given back.
    pub memory_kib: i64,
    pub peak_kib: i64,
}

impl Measured {
    /// Starts a command with its stdout in a pipe.
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(shown)?;
        Ok(Self { child })
    }

    pub fn stdout(&mut self) -> Result<std::process::ChildStdout> {
        self.child.stdout.take().context("its output is taken already")
    }

    /// What it has used up to now.
    pub fn used(&self) -> Result<Used> {
        /// Linux counts for programs in hundredths of a second, whatever it does inside.
        const TICK: Duration = Duration::from_millis(10);
        let id = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name in parentheses may hold anything; behind it, utime and stime are the 12th and 13th field.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has another form")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u32>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("/proc/PID/stat has another form")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        };
        let (memory_kib, peak_kib) = kib("VmRSS:").zip(kib("VmHWM:")).context("the process has ended")?;
        Ok(Used { cpu: TICK * (user + system), memory_kib, peak_kib })
    }

    /// Ends it as SIGTERM does and waits; it is wrong if it does not end well.
    #[cfg(unix)]
    pub async fn stop(mut self) -> Result<()> {
        use nix::sys::signal::{Signal, kill};
        kill(nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        for _ in 0..400 {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success() || status.code().is_none(), "the process ended with {status}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the process did not end within 40 s after SIGTERM")
    }

    #[cfg(not(unix))]
    pub async fn stop(self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Sub for Used {
    type Output = Cost;

    fn sub(self, earlier: Used) -> Cost {
        let grown = |now: u64, then: u64| i64::try_from(now).unwrap_or(i64::MAX) - i64::try_from(then).unwrap_or(0);
        Cost {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            memory_kib: grown(self.memory_kib, earlier.memory_kib),
            peak_kib: grown(self.peak_kib, earlier.peak_kib),
        }
    }
}

impl Cost {
    /// Milliseconds of processor time for each of so many.
    pub fn cpu_ms_each(&self, count: f64) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / count
    }

    /// KiB for each of so many.
    pub fn memory_kib_each(&self, count: usize) -> f64 {
        self.memory_kib as f64 / count as f64
    }
}
