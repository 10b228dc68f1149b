//! Which app passwords are meant, where that is said otherwise than by their IDs.

use chrono::{DateTime, Utc};
use clap::Args;

use crate::admin::cli::values;
use crate::admin::ops::PasswordRow;
use crate::base::{Mailbox, TenantName};

/// The options.
#[derive(Args, Debug, Default)]
pub(super) struct Selection {
    /// Those of this owner
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Those with this label
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Those of this mailbox
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    mailbox: Option<Mailbox>,
    /// Those of the mailboxes of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Those that nobody has used for this span, such as 90d, and that were issued before it
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    unused_for: Option<chrono::Duration>,
}

impl Selection {
    /// Those that nobody has used for so long.
    pub(super) fn unused(span: chrono::Duration) -> Self {
        Self { unused_for: Some(span), ..Self::default() }
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.owner.is_none()
            && self.label.is_none()
            && self.mailbox.is_none()
            && self.tenant.is_none()
            && self.unused_for.is_none()
    }

    /// Whether one is meant: everything that is said holds for it. `tenant_of` knows the tenants of the mailboxes on the list.
    pub(super) fn means(
        &self,
        row: &PasswordRow,
        now: DateTime<Utc>,
        tenant_of: impl Fn(&Mailbox) -> Option<TenantName>,
    ) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is.is_some_and(|is| is.eq_ignore_ascii_case(wanted)))
        };
        let rests = |span: chrono::Duration| now - row.last_used_at.unwrap_or(row.created_at) >= span;
        same(&self.owner, row.tracking.owner.as_deref())
            && same(&self.label, Some(&row.label))
            && self.mailbox.as_ref().is_none_or(|mailbox| *mailbox == row.mailbox)
            && self
                .tenant
                .as_ref()
                .is_none_or(|name| tenant_of(&row.mailbox).is_some_and(|tenant| tenant.as_str() == name))
            && self.unused_for.is_none_or(rests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ops::PasswordState;
    use crate::store::{DeliveryMode, SenderScope, Tracking, UseScope};

    #[test]
    fn everything_that_is_said_has_to_hold() {
        let now = Utc::now();
        let days = chrono::Duration::days;
        let row = |last_used: Option<i64>| PasswordRow {
            id: "k7m2qx".into(),
            mailbox: "alice@contoso.test".parse().unwrap(),
            label: "Scanner".into(),
            state: PasswordState::Active,
            protocols: Vec::new(),
            networks: Vec::new(),
            delivery: DeliveryMode::Direct,
            senders: SenderScope::default(),
            scope: UseScope::default(),
            first_use: None,
            created_at: now - days(100),
            expires_at: None,
            ends_within_days: None,
            revoked_at: None,
            last_used_at: last_used.map(|ago| now - days(ago)),
            replaces: None,
            tracking: Tracking { owner: Some("Facility".into()), ..Tracking::default() },
            is_adopted: false,
            replaced_by: None,
            replaced_at: None,
            ends_unused: None,
        };
        let contoso = |_: &Mailbox| Some(TenantName::new("contoso"));
        let means = |selection: &Selection, used| selection.means(&row(used), now, contoso);
        assert!(Selection::default().is_empty() && means(&Selection::default(), None));
        for (used, span, meant) in [(None, 90, true), (None, 101, false), (Some(80), 90, false), (Some(95), 90, true)] {
            assert_eq!(means(&Selection::unused(days(span)), used), meant, "{used:?} {span}");
        }
        let of = |owner: &str, tenant: &str| Selection {
            owner: Some(owner.into()),
            label: Some("scanner".into()),
            mailbox: Some("alice@contoso.test".parse().unwrap()),
            tenant: Some(tenant.into()),
            unused_for: None,
        };
        assert!(means(&of("facility", "contoso"), None));
        assert!(!means(&of("facility", "fabrikam"), None) && !means(&of("sales", "contoso"), None));
    }
}
