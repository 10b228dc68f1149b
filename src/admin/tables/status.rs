//! Whether all is well.

use crate::admin::ops::{MailboxState, Status};
use crate::admin::tables::{Entry, timestamp};

/// What runs, and how much there is of everything; what is not well stands in [`Status::troubles`].
pub(in crate::admin) fn facts(status: &Status) -> Vec<(String, Entry)> {
    let running = match (status.process, status.ready_at) {
        (Some(process), Some(since)) => {
            Entry::Good(format!("running as process {process}, ready since {}", timestamp(since)))
        }
        (Some(process), None) => Entry::Bad(format!("running as process {process}, not ready")),
        (None, _) => Entry::Bad("not running".to_owned()),
    };
    let mut facts: Vec<(String, Entry)> = vec![("postern".to_owned(), running)];
    let mut add = |name: &str, entry: Entry| facts.push((name.to_owned(), entry));
    for listener in &status.listeners {
        let name = format!("{} {} {}", listener.bound.protocol, listener.bound.tls, listener.bound.address);
        let answers =
            if listener.answers { Entry::Good("answers".into()) } else { Entry::Bad("does not answer".into()) };
        add(&name, answers);
    }
    if let Some(address) = status.console {
        add("console", format!("http://{address} (`postern console` signs in)").into());
    }
    let tenants = match status.tenants.as_slice() {
        [] => Entry::Bad("none".to_owned()),
        names => names.join(", ").into(),
    };
    add("tenants", tenants);
    for (state, count) in status.mailboxes {
        let (name, entry) = match state {
            MailboxState::Ready => ("mailboxes ready", count.to_string().into()),
            _ if count == 0 => continue,
            MailboxState::NeedsSignIn => ("mailboxes that need a sign-in", Entry::Bad(count.to_string())),
            MailboxState::NeedsAdministrator => {
                ("mailboxes that need the administrator", Entry::Bad(count.to_string()))
            }
            MailboxState::Disabled => ("mailboxes disabled or halted", Entry::Faint(count.to_string())),
        };
        add(name, entry);
    }
    add("app passwords in force", status.active_passwords.to_string().into());
    if status.ending_passwords > 0 {
        let text = format!("{} (`postern password list --ending-within 30d`)", status.ending_passwords);
        add("app passwords that end soon, without a successor", Entry::Bad(text));
    }
    if let Some(oldest) = status.waiting.oldest_at {
        let text = format!("{}, the oldest since {}", status.waiting.messages, timestamp(oldest));
        add("mail waiting", text.into());
    }
    facts
}
