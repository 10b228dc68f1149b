//! `postern serve`: runs the proxy in the foreground.

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::limits;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::signals::{self, Signals};
use crate::app::App;

/// Run the proxy in the foreground until SIGTERM or SIGINT
///
/// What is open is finished first. SIGHUP reads the certificate anew.
#[derive(Args, Debug)]
pub(super) struct Serve {}

#[derive(Serialize)]
struct Document {
    listeners: Vec<ListenerDocument>,
}

#[derive(Serialize)]
struct ListenerDocument {
    protocol: String,
    tls: String,
    address: String,
}

impl Serve {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let mut config = set_up.config_with_warnings()?;
        set_up.log(&config.log);
        let output = &set_up.output;
        limits::forbid_dumps(output);
        config.limits.connections = limits::grant_files(output, config.limits.connections);
        set_up.run_service(async {
            let mut signals = Signals::listen()?;
            let (reload, reloads) = mpsc::channel(1);
            signals::at_each_hangup(move || {
                // Full means that one waits already, which is enough.
                let _ = reload.try_send(());
            })?;
            // Apart: where the main thread has little stack, what it takes to begin is not kept for good.
            let app = Box::pin(App::build(&config)).await?;
            let bound = app.bound();
            // These lines are the answer to the command, so -q does not take them away: scripts wait for the last one.
            for listener in &bound {
                output.say(&format!("{} {} {}", listener.protocol, listener.tls, listener.address));
            }
            if let Some(address) = app.console_address() {
                output.say(&format!("console http {address} (`postern console` signs in)"));
            }
            if let Some(address) = app.metrics_address() {
                output.say(&format!("metrics http {address}"));
            }
            match app.ca() {
                Some(ca) => output.say(&format!(
                    "certificates are from the CA in {} (`postern certificate` tells how to trust it)",
                    ca.path.display()
                )),
                None => output.say("the certificate is the configured one"),
            }
            if config.tenants.is_empty() {
                output.say(
                    "there is no [[tenant]] in the configuration, so every login is refused: `postern setup` asks for what it needs \
                     and adds one; start `postern serve` again after it",
                );
            }
            if output.is_json() {
                let listeners = bound.into_iter().map(|listener| ListenerDocument {
                    protocol: listener.protocol,
                    tls: listener.tls,
                    address: listener.address,
                });
                let document = Document { listeners: listeners.collect() };
                match output.json(&document) {
                    // Whoever started it may not want to know.
                    Ok(()) | Err(Failure::ReaderGone) => {}
                    Err(failure) => return Err(failure),
                }
            }
            output.say("postern is ready");
            Box::pin(app.run(async move { signals.stop().await }, reloads)).await?;
            Ok(())
        })
    }
}
