//! When what the applications prove themselves with ends.

use chrono::{DateTime, NaiveTime, Utc};

use crate::base::TenantName;
use crate::broker::credential::{Credential, Proof};
use crate::broker::{Broker, BrokerError};

/// The end of a certificate or secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The tenant.
    pub tenant: TenantName,
    /// `client certificate` or `client secret`.
    pub what: &'static str,
    /// Its end.
    pub at: DateTime<Utc>,
}

impl Expiry {
    /// The days before the end at which to speak of it.
    const WARN_AT_DAYS: [i64; 4] = [60, 30, 7, 1];

    /// Whole days that are left; negative once it is past.
    pub fn days_left(&self, now: DateTime<Utc>) -> i64 {
        (self.at - now).num_seconds().div_euclid(86_400)
    }

    /// The last of 60, 30, 7 and 1 days before the end that has come, or 0 if the end itself has; `None`: it is far away.
    pub fn stage(&self, now: DateTime<Utc>) -> Option<i64> {
        let left = self.days_left(now);
        if left < 0 {
            return Some(0);
        }
        Self::WARN_AT_DAYS.into_iter().rev().find(|days| left <= *days)
    }

    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self.what {
            "client certificate" => {
                "Make a new certificate, upload it to the app registration beside the old one, then put it in the place of the old one; it \
                 is read anew at once."
            }
            _ => {
                "Make a new client secret in the app registration, put its value in the place of the old one, and change \
                 `client_secret_expires`; the value is read anew at once."
            }
        }
    }
}

impl Broker {
    /// The ends that are known: of certificates, from the certificate itself; of secrets, as the configuration tells. A credential that
    /// cannot be read is given as its fault.
    pub fn expiries(&self) -> Vec<Result<Expiry, BrokerError>> {
        let mut found = Vec::new();
        for tenant in self.tenants.values() {
            let settings = &tenant.settings;
            match &settings.credential {
                Credential::Certificate { .. } => match Proof::read(&settings.credential, &settings.name) {
                    Ok(proof) => found.extend(
                        proof
                            .expires_at()
                            .map(|at| Ok(Expiry { tenant: settings.name.clone(), what: "client certificate", at })),
                    ),
                    Err(error) => found.push(Err(error)),
                },
                Credential::Secret(_) => found.extend(settings.client_secret_expires.map(|day| {
                    let end = NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default();
                    Ok(Expiry { tenant: settings.name.clone(), what: "client secret", at: day.and_time(end).and_utc() })
                })),
                Credential::FederatedToken(_) | Credential::None => {}
            }
        }
        found.sort_by_key(|found| found.as_ref().ok().map(|expiry| expiry.at));
        found
    }
}

#[cfg(test)]
mod tests {
    use chrono::Duration;

    use super::*;

    #[test]
    fn an_end_is_spoken_of_60_30_7_and_1_days_ahead_and_once_it_is_past() {
        let now = DateTime::UNIX_EPOCH;
        for (left, stage) in [
            (Duration::days(61), None),
            (Duration::days(60), Some(60)),
            (Duration::days(31), Some(60)),
            (Duration::days(30), Some(30)),
            (Duration::days(7), Some(7)),
            (Duration::days(2), Some(7)),
            (Duration::hours(30), Some(1)),
            (Duration::hours(1), Some(1)),
            (Duration::seconds(-1), Some(0)),
        ] {
            let expiry = Expiry { tenant: TenantName::new("contoso"), what: "client secret", at: now + left };
            assert_eq!(expiry.stage(now), stage, "{left}");
        }
    }
}
