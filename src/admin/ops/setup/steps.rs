//! What the tenant's administrator does in the portal, filled in with the answers.

use crate::admin::ops::setup::ApplicationCertificate;
use crate::admin::ops::setup::register::by_powershell;
use crate::base::Protocol;
use crate::config::{Cloud, Grant};

/// What the steps are filled in with.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The cloud.
    pub cloud: Cloud,
    /// Who signs in.
    pub grant: Grant,
    /// What mail programs are to speak.
    pub protocols: &'a [Protocol],
    /// How the application proves itself.
    pub proof: Proof<'a>,
}

/// How the application proves itself, as far as it concerns the portal.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// By a certificate that Postern has made.
    Certificate(&'a ApplicationCertificate),
    /// By a token of another issuer.
    Federated,
    /// Not at all.
    None,
    /// By a certificate of its own.
    OwnCertificate,
    /// By a client secret.
    Secret,
}

/// The steps, one line or more each, for a person.
pub fn registration(asked: &Registration<'_>) -> String {
    let steps = match asked.cloud {
        Cloud::Custom => at_another_service(asked),
        _ => in_entra(asked),
    };
    let head = match asked.cloud {
        Cloud::Global => {
            "In the Entra admin centre (https://entra.microsoft.com), as an administrator who may grant consent:"
        }
        Cloud::GccHigh | Cloud::Dod | Cloud::China => {
            "In the Entra admin centre of this cloud, as an administrator who may grant consent (a registration of another cloud is worth nothing here):"
        }
        Cloud::Personal => {
            "In the Entra admin centre (https://entra.microsoft.com), with any account that has a directory [not confirmed]:"
        }
        Cloud::Custom => "At your token service:",
    };
    let steps = steps.iter().enumerate().map(|(number, step)| {
        let step = step.replace('\n', "\n     ");
        format!("\n  {}. {step}", number + 1)
    });
    let commands = by_powershell(asked).map(|commands| format!("\n\n  {commands}")).unwrap_or_default();
    format!("{head}{}{commands}", steps.collect::<String>())
}

fn in_entra(asked: &Registration<'_>) -> Vec<String> {
    let delegated = asked.grant.is_delegated();
    let personal = asked.cloud == Cloud::Personal;
    let accounts = if personal {
        "\"Personal Microsoft accounts only\" [not confirmed]"
    } else {
        "\"Accounts in this organizational directory only\""
    };
    let redirect = if delegated {
        "Redirect URI: \"Public client/native (mobile & desktop)\", http://localhost"
    } else {
        "No redirect URI."
    };
    let mut steps = vec![format!("App registrations, New registration. Name: Postern. {accounts}.\n{redirect}")];
    steps.push(if personal {
        "Note the application (client) ID on its overview.".to_owned()
    } else {
        "Note the application (client) ID and the directory (tenant) ID on its overview.".to_owned()
    });
    if delegated {
        steps.push("Authentication, \"Allow public client flows\": Yes.".to_owned());
    }
    match asked.proof {
        Proof::Certificate(certificate) => steps.push(format!(
            "Certificates & secrets, Certificates, Upload certificate: {}\n\
             Its thumbprint there must be {} (SHA-1); it ends on {}.",
            certificate.certificate.display(),
            certificate.sha1,
            certificate.expires_at.date_naive()
        )),
        Proof::OwnCertificate => steps.push("Certificates & secrets, Certificates, Upload certificate: yours, without its key.".to_owned()),
        Proof::Secret => steps.push(
            "Certificates & secrets, New client secret. Note its value (not its ID), which is shown this once, and its last day."
                .to_owned(),
        ),
        Proof::Federated => steps.push(
            "Certificates & secrets, Federated credentials, Add credential: issuer, subject and audience as in the token's file."
                .to_owned(),
        ),
        Proof::None => {}
    }
    steps.push(permissions(asked, delegated));
    if !personal {
        steps.push("API permissions, \"Grant admin consent\".".to_owned());
    }
    if !delegated {
        steps.push(
            "Enterprise applications, Postern: note the object ID. The one on the page of the app registration is another, and \
             does not work."
                .to_owned(),
        );
    }
    steps
}

/// What a person, or the application itself, needs for a protocol.
pub(super) fn permission(protocol: Protocol, delegated: bool) -> &'static str {
    match (protocol, delegated) {
        (Protocol::Smtp, true) => "SMTP.Send",
        (Protocol::Imap, true) => "IMAP.AccessAsUser.All",
        (Protocol::Pop3, true) => "POP.AccessAsUser.All",
        (Protocol::Smtp, false) => "SMTP.SendAsApp",
        (Protocol::Imap, false) => "IMAP.AccessAsApp",
        (Protocol::Pop3, false) => "POP.AccessAsApp",
    }
}

fn permissions(asked: &Registration<'_>, delegated: bool) -> String {
    let names = asked.protocols.iter().map(|protocol| permission(*protocol, delegated)).collect::<Vec<_>>().join(", ");
    if delegated {
        return format!(
            "API permissions, Add a permission, Microsoft Graph, Delegated permissions: {names}, offline_access."
        );
    }
    let mut text = format!(
        "API permissions, Add a permission, \"APIs my organization uses\", Office 365 Exchange Online, Application permissions: {names}."
    );
    if asked.protocols.contains(&Protocol::Smtp) {
        text.push_str(
            "\nNot SMTP.SendAsApp, if the script below is to be run with -SmtpByRole: that allows sending for the named mailboxes alone.",
        );
    }
    text
}

fn at_another_service(asked: &Registration<'_>) -> Vec<String> {
    let mut steps = vec![format!("Register an application that may use the grant {}.", asked.grant.name())];
    if asked.grant == Grant::AuthorizationCode {
        steps.push("Allow it the redirect address http://localhost, with any port.".to_owned());
    }
    if let Proof::Certificate(certificate) = asked.proof {
        steps.push(format!(
            "Tell the service its certificate: {} (SHA-256 {}).",
            certificate.certificate.display(),
            certificate.sha256
        ));
    }
    steps.push("Note its client ID, and let it into the mailboxes.".to_owned());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ops::setup::Kept;

    #[test]
    fn every_step_is_filled_in_with_the_answers() {
        let certificate = ApplicationCertificate {
            certificate: "/etc/postern/contoso.pem".into(),
            key: "/etc/postern/contoso.key".into(),
            sha1: "AB".repeat(20),
            sha256: "CD".repeat(32),
            expires_at: chrono::DateTime::UNIX_EPOCH,
            kept: Kept::Made,
        };
        let asked = Registration {
            cloud: Cloud::Global,
            grant: Grant::ClientCredentials,
            protocols: &[Protocol::Smtp, Protocol::Pop3],
            proof: Proof::Certificate(&certificate),
        };
        let text = registration(&asked);
        for part in [
            "entra.microsoft.com",
            "No redirect URI.",
            "/etc/postern/contoso.pem",
            "ABABAB",
            "SMTP.SendAsApp, POP.AccessAsApp.",
            "Grant admin consent",
            "Enterprise applications",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("contoso.key") && !text.contains("IMAP."), "{text}");
        let people = registration(&Registration {
            grant: Grant::AuthorizationCode,
            proof: Proof::None,
            protocols: &Protocol::ALL,
            ..asked
        });
        for part in [
            "http://localhost",
            "Allow public client flows",
            "Microsoft Graph, Delegated permissions: SMTP.Send, IMAP.AccessAsUser.All, POP.AccessAsUser.All, offline_access",
        ] {
            assert!(people.contains(part), "{part}\n{people}");
        }
        assert!(!people.contains("Enterprise applications") && !people.contains("AsApp"), "{people}");
        let personal = registration(&Registration { cloud: Cloud::Personal, grant: Grant::DeviceCode, ..asked });
        assert!(!personal.contains("admin consent") && personal.contains("Personal Microsoft accounts"), "{personal}");
        let custom = registration(&Registration { cloud: Cloud::Custom, ..asked });
        assert!(custom.contains("CDCD") && !custom.contains("Exchange"), "{custom}");
    }
}
