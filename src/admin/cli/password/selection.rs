//! Which app passwords are meant, where that is said otherwise than by their IDs.

use chrono::{DateTime, Utc};
use clap::Args;

use crate::admin::cli::values;
use crate::admin::ops::PasswordRow;
use crate::admin::tables;
use crate::base::{Mailbox, TenantName};

/// The options.
#[derive(Args, Debug, Default)]
pub(super) struct Selection {
    /// Those of this owner; `*` stands for any text, and case does not matter
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Those with this label; `*` stands for any text, and case does not matter
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
    /// Those in force that end by themselves within this span, such as 30d
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    ending_within: Option<chrono::Duration>,
}

/// Whether a text is like what is wanted, in which `*` stands for any text.
fn is_like(wanted: &str, is: &str) -> bool {
    let (wanted, is) = (wanted.to_lowercase(), is.to_lowercase());
    let mut parts = wanted.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = is.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
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
            && self.ending_within.is_none()
    }

    /// The same for whatever time: what is said but for the spans. None, where no span is said.
    pub(super) fn at_any_time(&self) -> Option<Self> {
        let has_span = self.unused_for.or(self.ending_within).is_some();
        has_span.then(|| Self {
            owner: self.owner.clone(),
            label: self.label.clone(),
            mailbox: self.mailbox.clone(),
            tenant: self.tenant.clone(),
            ..Self::default()
        })
    }

    /// That none in force is meant.
    pub(super) fn none_is_meant(&self) -> String {
        let texts =
            [("--owner", self.owner.clone()), ("--label", self.label.clone()), ("--tenant", self.tenant.clone())];
        let mailbox = ("--mailbox", self.mailbox.as_ref().map(ToString::to_string));
        let spans = [("--unused-for", self.unused_for), ("--ending-within", self.ending_within)];
        let spans = spans.map(|(name, span)| (name, span.map(tables::span_words)));
        let said: Vec<String> = texts
            .into_iter()
            .chain([mailbox])
            .chain(spans)
            .filter_map(|(name, text)| Some(format!("{name} \"{}\"", text?)))
            .collect();
        format!("there is no app password in force for {}", said.join(" and "))
    }

    /// Whether one is meant: everything that is said holds for it. `tenant_of` knows the tenants of the mailboxes on the list.
    pub(super) fn means(
        &self,
        row: &PasswordRow,
        now: DateTime<Utc>,
        tenant_of: impl Fn(&Mailbox) -> Option<TenantName>,
    ) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is.is_some_and(|is| is_like(wanted, is)))
        };
        let ends = |span: chrono::Duration| {
            row.state.is_in_force() && row.expires_at.is_some_and(|end| now < end && end - now <= span)
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
            && self.ending_within.is_none_or(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ops::PasswordState;
    use crate::store::{DeliveryMode, SenderScope, Tracking, UseScope};

    #[test]
    fn a_star_stands_for_any_text() {
        for (wanted, is, holds) in [
            ("scanner", "Scanner", true),
            ("scanner", "scanner, second floor", false),
            ("scanner*", "Scanner, second floor", true),
            ("*floor", "scanner, second floor", true),
            ("s*second*r", "scanner, second floor", true),
            ("s*r*r*r*r", "scanner, floor", false),
            ("*", "", true),
            ("", "x", false),
            ("a*a", "a", false),
            ("É*", "élan", true),
        ] {
            assert_eq!(is_like(wanted, is), holds, "{wanted} {is}");
        }
    }

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
            ending_within: None,
        };
        assert!(means(&of("facility", "contoso"), None));
        assert!(!means(&of("facility", "fabrikam"), None) && !means(&of("sales", "contoso"), None));
    }
}
