//! What can be wrong on this machine: the configuration, the store and its keys, and who holds the listeners' ports.

use crate::admin::ops::doctor::port;
use crate::admin::ops::doctor::step::{Check, Outcome, StepState, Teller};
use crate::admin::ops::greeting::{self, Greeting};
use crate::admin::ops::{Ops, OpsError, check_keys, has_no_store};
use crate::base::Protocol;
use crate::config::{self, Config, Listener};
use crate::foundation::{Bound, Running};

/// Looks at all of it. The store is returned if there is one and it opens.
pub(in crate::admin::ops::doctor) async fn examine(
    config: &Config,
    warnings: &[config::Warning],
    teller: &Teller,
) -> Option<Ops> {
    for warning in warnings {
        tell(teller, Check::Configuration, StepState::Warning, warning);
    }
    let tenants = config.tenants.len();
    if tenants == 0 {
        let remedy = "Add one with `postern setup`, or by hand; config/minimal.toml shows one.".to_owned();
        let said = "there is no tenant, so every login is refused".to_owned();
        teller.tell(Check::Configuration, None, StepState::Failed, said, Some(remedy));
    } else {
        let tenants = config.tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>().join(", ");
        let said = format!("it can be used; tenants: {tenants}");
        teller.tell(Check::Configuration, None, StepState::Ok, said, None);
    }
    let ops = store(config, teller).await;
    listeners(config, ops.as_ref(), teller).await;
    ops
}

fn tell(teller: &Teller, check: Check, state: StepState, found: &config::Warning) {
    teller.tell(check, None, state, found.to_string(), Some(found.remedy.clone()));
}

async fn store(config: &Config, teller: &Teller) -> Option<Ops> {
    let keys = check_keys(config);
    for warning in &keys.warnings {
        tell(teller, Check::Store, StepState::Warning, warning);
    }
    for fault in &keys.faults {
        tell(teller, Check::Store, StepState::Failed, fault);
    }
    if !keys.faults.is_empty() {
        return None;
    }
    if has_no_store(config) {
        let said = format!("there is no store in `{}` yet, so no mailbox is on the list", config.data_dir.display());
        let remedy =
            "If that is so, begin with `postern mailbox add ADDRESS`; if not, correct `data_dir` in the configuration.";
        teller.tell(Check::Store, None, StepState::Warning, said, Some(remedy.to_owned()));
        return None;
    }
    let work = async {
        match opened(config).await {
            Ok((ops, mailboxes)) => {
                let said = format!("`{}` opens; mailboxes on the list: {mailboxes}", config.data_dir.display());
                Outcome::ok(said, ops)
            }
            Err(error) => Outcome::of_fault(&error),
        }
    };
    teller.run(Check::Store, None, work).await
}

async fn opened(config: &Config) -> Result<(Ops, usize), OpsError> {
    let ops = Ops::open(config).await?;
    let mailboxes = ops.foundation.store.mailboxes().await?.len();
    Ok((ops, mailboxes))
}

/// Who holds each listener's port: Postern with its own certificate, nobody, or somebody else who could collect app passwords there.
async fn listeners(config: &Config, ops: Option<&Ops>, teller: &Teller) {
    let running = ops.and_then(|ops| ops.running().ok().flatten());
    match &running {
        Some(running) => served(config, running, teller).await,
        None => {
            for listener in &config.listeners {
                let state = async { unserved(listener) };
                teller.run(Check::Listener, Some(listener.protocol), state).await;
            }
        }
    }
}

/// The listeners of the running process.
async fn served(config: &Config, running: &Running, teller: &Teller) {
    if let Some(said) = running.is_outdated(config) {
        let remedy = "Start it anew; until then mail programs meet the other one.".to_owned();
        teller.tell(Check::Configuration, None, StepState::Warning, said, Some(remedy));
    }
    let greetings = greeting::of_all(config, &running.listeners).await;
    for (bound, greeting) in running.listeners.iter().zip(greetings) {
        let name = format!("{} {}", bound.tls, bound.address);
        let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.name() == bound.protocol);
        let (state, said, remedy) = match greeting {
            Greeting::Heard => (StepState::Ok, format!("{name} answers (process {})", running.process), None),
            Greeting::OtherCertificate(why) => {
                (StepState::Warning, format!("{name}: {why}"), Some("Let it read the certificate anew.".to_owned()))
            }
            Greeting::None(why) => {
                let remedy = format!("Look at the log of process {}; start Postern anew.", running.process);
                (StepState::Failed, format!("{name} does not answer: {why}"), Some(remedy))
            }
        };
        teller.tell(Check::Listener, protocol, state, said, remedy);
    }
    for listener in config.listeners.iter().filter(|listener| !is_among(listener, &running.listeners)) {
        let said = format!(
            "{} {} is in the configuration but not served by process {}, which was started before",
            listener.tls, listener.address, running.process
        );
        let remedy = Some("Start Postern anew, so that it takes up the configuration.".to_owned());
        teller.tell(Check::Listener, Some(listener.protocol), StepState::Warning, said, remedy);
    }
}

fn is_among(listener: &Listener, bound: &[Bound]) -> bool {
    bound.iter().any(|bound| {
        let address = match listener.address.port() {
            // Any port will do.
            0 => bound.address.rsplit_once(':').is_some_and(|(host, _)| {
                listener.address.to_string().rsplit_once(':').is_some_and(|(asked, _)| asked == host)
            }),
            _ => bound.address == listener.address.to_string(),
        };
        address && bound.protocol == listener.protocol.name() && bound.tls == listener.tls.name()
    })
}

/// A listener while nothing is served from this data folder: its port should be free.
fn unserved(listener: &Listener) -> Outcome<()> {
    let name = format!("{} {}", listener.tls, listener.address);
    match port::holder(listener.address) {
        port::Holder::Nobody => Outcome::ok(format!("{name} is free (`serve` is not running)"), ()),
        port::Holder::Unknown(why) => Outcome::ok(format!("{name} is not served now, and was not tried: {why}"), ()),
        port::Holder::Somebody(who) => Outcome::failed(
            format!("{name} is taken by {who}, and no `postern serve` runs on this data folder"),
            Some(
                "Mail programs would hand their app passwords to it. Stop it, or give the listener another port. If it is a \
                 Postern with another data folder or configuration, name that one with --config."
                    .to_owned(),
            ),
        ),
        port::Holder::NoSuchAddress => Outcome::failed(
            format!("{name} cannot be opened: this machine does not have that address"),
            Some("Correct `address` under [[listener]]; 127.0.0.1 is this machine alone, 0.0.0.0 every address of it.".to_owned()),
        ),
    }
}
