//! How strong a secret is that somebody chose.

use zxcvbn::zxcvbn;

use crate::store::AppPasswordRecord;

/// What a secret has to withstand, as a power of ten: the limits of `auth` let strangers try some thousands a day, so that this many
/// last for longer than anybody tries; and should store and keys ever be stolen together, at some 30 ms each for ten years of a core.
const LEAST_GUESSES_LOG10: f64 = 10.0;

/// The longest secret in octets: no device has a longer field.
const LONGEST: usize = 256;

/// How many guesses a secret withstands, as far as one who knows how people choose them can tell (zxcvbn).
#[derive(Clone, Debug, PartialEq)]
pub struct Strength {
    /// As a power of ten.
    pub guesses_log10: f64,
    /// What makes it weak.
    pub why: Option<String>,
}

impl Strength {
    /// Measures a secret against what anybody could guess of the mailbox and of the device.
    pub(in crate::admin::ops) fn of(secret: &str, what_for: &AppPasswordRecord) -> Self {
        let mailbox = what_for.mailbox.as_str();
        let mut known: Vec<&str> = mailbox.split(['@', '.', '-', '_']).collect();
        known.push(mailbox);
        known.extend(what_for.label.split_whitespace());
        known.extend(what_for.tracking.owner.iter().flat_map(|owner| owner.split_whitespace()));
        known.extend(["postern", "scanner", "printer", "copier", "scan", "mfp", "office365", "outlook", "smtp"]);
        known.retain(|word| word.len() > 1);
        let measured = zxcvbn(secret, &known);
        let why = measured.feedback().and_then(|feedback| feedback.warning()).map(|warning| warning.to_string());
        Self { guesses_log10: measured.guesses_log10(), why }
    }

    /// Whether it may be used as it is.
    pub fn is_enough(&self) -> bool {
        self.guesses_log10 >= LEAST_GUESSES_LOG10
    }

    /// The two figures, as people read them.
    pub fn words(&self) -> String {
        format!(
            "about 10^{:.0} guesses would find it, and at least 10^{LEAST_GUESSES_LOG10:.0} are required",
            self.guesses_log10.floor()
        )
    }
}

/// Why it cannot be an app password, whatever its strength.
pub(in crate::admin::ops) fn unfit(secret: &str) -> Option<&'static str> {
    if secret.is_empty() {
        Some("is empty")
    } else if secret.len() > LONGEST {
        Some("is longer than 256 octets")
    } else if secret.chars().any(char::is_control) {
        Some("has a control character or more than one line")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DeliveryMode, SenderScope, Tracking, UseScope, Verifier};

    fn copier() -> AppPasswordRecord {
        AppPasswordRecord {
            id: "k7m2qx".into(),
            mailbox: "scanner@contoso.test".parse().unwrap(),
            label: "Bizhub second floor".into(),
            verifier: Verifier([0; 32]),
            slow_hash: None,
            protocols: Vec::new(),
            networks: Vec::new(),
            delivery: DeliveryMode::Direct,
            senders: SenderScope::default(),
            scope: UseScope::default(),
            first_use: None,
            ends_unused: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            replaces: None,
            tracking: Tracking { owner: Some("Facility Team".into()), ..Tracking::default() },
        }
    }

    #[test]
    fn what_people_choose_for_a_copier_is_weak_and_what_a_generator_made_is_not() {
        for weak in [
            "",
            "Scanner1",
            "P@ssw0rd!",
            "Contoso2019!",
            "bizhub-facility",
            "Winter2025",
            "qwertz12345",
            "aaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(!Strength::of(weak, &copier()).is_enough(), "{weak}: {:?}", Strength::of(weak, &copier()));
        }
        for strong in ["mBz8hrQvW2pt", "correct horse battery staple", "r7!kQ0zP_x", "7fd1c0e9a4b2"] {
            assert!(Strength::of(strong, &copier()).is_enough(), "{strong}: {:?}", Strength::of(strong, &copier()));
        }
    }

    #[test]
    fn what_no_login_can_carry_is_unfit() {
        for (secret, fits) in [("", false), ("a\nb", false), ("a\0b", false), (" a b ", true), ("schl\u{fc}ssel", true)]
        {
            assert_eq!(unfit(secret).is_none(), fits, "{secret:?}");
        }
        assert!(unfit(&"x".repeat(257)).is_some() && unfit(&"x".repeat(256)).is_none());
    }
}
