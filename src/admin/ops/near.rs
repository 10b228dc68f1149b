//! Which mailbox of the list was probably meant by an address that is not on it.

use crate::base::Mailbox;
use crate::config::distance;
use crate::store::MailboxRecord;

/// How many are named: more is a list, and there is a command for that.
const MOST: usize = 3;

/// The mailboxes whose alias it is, then those of nearly the same address, then those of the same name in another domain.
pub(in crate::admin::ops) fn nearest(address: &Mailbox, listed: &[MailboxRecord]) -> Vec<Mailbox> {
    let text = address.as_str();
    let name = text.strip_suffix(address.domain()).unwrap_or(text);
    // One slip in a short address, up to three in a long one.
    let allowed = (text.chars().count() / 6).clamp(1, 3);
    let mut found: Vec<(usize, &Mailbox)> = listed
        .iter()
        .filter_map(|record| {
            if record.aliases.iter().any(|alias| alias == text) {
                return Some((0, &record.address));
            }
            let slips = distance(text, record.address.as_str());
            let same_name = record.address.as_str().strip_suffix(record.address.domain()) == Some(name);
            (slips <= allowed || same_name).then_some((slips, &record.address))
        })
        .collect();
    found.sort();
    found.into_iter().take(MOST).map(|(_, address)| address.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TenantName;

    #[test]
    fn an_address_leads_to_those_that_it_may_be_a_slip_of() {
        let record = |address: &str, aliases: &[&str]| MailboxRecord {
            address: address.parse().unwrap(),
            tenant: TenantName::new("contoso"),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            sign_in_as: None,
            disabled_at: None,
            halted_at: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
        };
        let listed = [
            record("alice@contoso.com", &["scanner@contoso.com"]),
            record("alina@contoso.com", &[]),
            record("bob@contoso.com", &[]),
            record("bob@fabrikam.com", &[]),
        ];
        for (address, expected) in [
            ("alcie@contoso.com", &["alice@contoso.com"][..]),
            ("alice@contso.com", &["alice@contoso.com"]),
            ("alica@contoso.com", &["alice@contoso.com", "alina@contoso.com"]),
            ("scanner@contoso.com", &["alice@contoso.com"]),
            ("bob@contoso.test", &["bob@contoso.com", "bob@fabrikam.com"]),
            ("carol@contoso.com", &[]),
        ] {
            let near = nearest(&address.parse().unwrap(), &listed);
            assert_eq!(near.iter().map(Mailbox::as_str).collect::<Vec<_>>(), expected, "{address}");
        }
    }
}
