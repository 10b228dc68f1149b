//! A configuration that makes `postern serve` use the simulated tenant.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::files::{make_private_folder, write_private};
use crate::sandbox::{Sandbox, SandboxError};

/// Protocol, TLS and port of the listeners.
const LISTENERS: [(&str, &str, u16); 6] = [
    ("smtp", "starttls", 1587),
    ("smtp", "implicit", 1465),
    ("imap", "starttls", 1143),
    ("imap", "implicit", 1993),
    ("pop3", "starttls", 1110),
    ("pop3", "implicit", 1995),
];

/// The grant in the configuration that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WrittenGrant {
    /// The application signs in by itself.
    #[default]
    ClientCredentials,
    /// Users sign in with a browser.
    AuthorizationCode,
    /// Users sign in by device code.
    DeviceCode,
}

impl WrittenGrant {
    fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
            Self::DeviceCode => "device_code",
        }
    }
}

/// The configuration that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its text.
    pub text: String,
    /// Where an earlier one is now that somebody had changed.
    pub earlier: Option<PathBuf>,
}

/// What the last line begins with; the rest of it shows whether the text before has been changed since it was written.
const MARK: &str = "# as written: ";

fn marked(text: &str) -> String {
    format!("{text}{MARK}{}\n", URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes())))
}

fn is_as_written(text: &str) -> bool {
    text.rfind(MARK).and_then(|place| text.get(..place)).is_some_and(|before| marked(before) == text)
}

/// Puts a configuration aside that somebody has changed.
fn put_aside(path: &Path) -> std::io::Result<Option<PathBuf>> {
    match std::fs::read_to_string(path) {
        Ok(text) if is_as_written(&text) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => {
            let aside = path.with_extension("toml.earlier");
            std::fs::rename(path, &aside).map(|()| Some(aside))
        }
    }
}

/// Writes `ca.pem`, the credentials of the application, a refresh token of every mailbox and `postern.toml` into `dir`; the
/// text of the last one.
pub(super) fn write(sandbox: &Sandbox, dir: &Path, grant: WrittenGrant) -> Result<Written, SandboxError> {
    let text = marked(&text(sandbox, grant));
    make_private_folder(dir).map_err(|source| SandboxError::Write { path: dir.to_owned(), source })?;
    let configuration = dir.join("postern.toml");
    let earlier =
        put_aside(&configuration).map_err(|source| SandboxError::Write { path: configuration.clone(), source })?;
    let federated_token = sandbox.federated_token(sandbox.federated_subject())?;
    let mut files = vec![
        ("ca.pem".to_owned(), sandbox.ca_pem().to_owned()),
        ("client-secret".to_owned(), sandbox.client_secret().to_owned()),
        ("client-certificate.pem".to_owned(), sandbox.client_certificate_pem().to_owned()),
        ("client-certificate.key".to_owned(), sandbox.client_key_pem().to_owned()),
        ("federated-token".to_owned(), federated_token),
        ("postern.toml".to_owned(), text.clone()),
    ];
    // For `postern mailbox connect ADDRESS --refresh-token-file`, once the grant is a delegated one.
    for address in sandbox.tenant.mailboxes.addresses() {
        files.push((format!("refresh-token-{address}"), sandbox.refresh_token_for(&address)));
    }
    for (name, content) in files {
        let path = dir.join(name);
        write_private(&path, content.as_bytes()).map_err(|source| SandboxError::Write { path, source })?;
    }
    Ok(Written { text, earlier })
}

fn text(sandbox: &Sandbox, grant: WrittenGrant) -> String {
    let mut text = String::from(
        "# Uses the simulated tenant that `postern sandbox` runs. Its ports and secrets change at each start unless named.\n\
         data_dir = \"data\"\n",
    );
    for (protocol, tls, port) in LISTENERS {
        text.push_str(&format!(
            "\n[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:{port}\"\ntls = \"{tls}\"\n"
        ));
    }
    text.push_str("\n[console]\naddress = \"127.0.0.1:8587\"\n");
    let scope = "https://outlook.office365.com/.default";
    let users = "https://outlook.office.com";
    let (name, [for_application, for_users]) = match grant {
        WrittenGrant::ClientCredentials => (grant.name(), ["", "# "]),
        WrittenGrant::AuthorizationCode | WrittenGrant::DeviceCode => (grant.name(), ["# ", ""]),
    };
    text.push_str(&format!(
        r#"
[[tenant]]
name = "contoso"
cloud = "custom"
tenant_id = "{tenant_id}"
client_id = "{client_id}"
# client_credentials, or authorization_code or device_code with users' sign-ins: those need the other scopes below, and
# `postern mailbox connect ADDRESS`. `postern sandbox --grant` writes both.
grant = "{name}"
client_secret_file = "client-secret"
# In place of the secret, a certificate or a token of the external issuer that the application trusts:
# certificate_file = "client-certificate.pem"
# key_file = "client-certificate.key"
# federated_token_file = "federated-token"
# An application without any of them, for users' sign-ins alone:
# client_id = "{public_client_id}"

[tenant.endpoints]
authorize_url = "{authorize_url}"
device_url = "{device_url}"
token_url = "{token_url}"
imap = "{imap}"
pop3 = "{pop3}"
smtp = "{smtp}"
smtp_tls = "starttls"
graph = "{graph}"
ca_file = "ca.pem"
# For the application:
{for_application}scopes = {{ imap = "{scope}", pop3 = "{scope}", smtp = "{scope}", graph = "https://graph.microsoft.com/.default" }}
# For users' sign-ins:
{for_users}[tenant.endpoints.scopes]
{for_users}imap = "{users}/IMAP.AccessAsUser.All offline_access"
{for_users}pop3 = "{users}/POP.AccessAsUser.All offline_access"
{for_users}smtp = "{users}/SMTP.Send offline_access"
{for_users}graph = "https://graph.microsoft.com/Mail.Send offline_access"
"#,
        tenant_id = sandbox.tenant_id(),
        client_id = sandbox.client_id(),
        public_client_id = sandbox.public_client_id(),
        authorize_url = sandbox.authorize_url(),
        device_url = sandbox.device_url(),
        token_url = sandbox.token_url(),
        imap = sandbox.imap_address(),
        pop3 = sandbox.pop3_address(),
        smtp = sandbox.smtp_address(),
        graph = sandbox.graph_url(),
    ));
    text
}

#[cfg(test)]
mod tests {
    use crate::sandbox::{Options, Sandbox, WrittenGrant};

    #[tokio::test]
    async fn what_somebody_has_changed_is_put_aside_and_each_grant_has_its_scopes() {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postern.toml");
        for (grant, name, scope) in [
            (WrittenGrant::ClientCredentials, "client_credentials", "https://outlook.office365.com/.default"),
            (
                WrittenGrant::AuthorizationCode,
                "authorization_code",
                "https://outlook.office.com/SMTP.Send offline_access",
            ),
            (WrittenGrant::DeviceCode, "device_code", "https://outlook.office.com/SMTP.Send offline_access"),
        ] {
            let written = sandbox.write_configuration_for(folder.path(), grant).unwrap();
            assert_eq!(written.earlier, None, "nobody has changed the one before");
            let read: toml::Table = written.text.parse().unwrap();
            let tenant = &read["tenant"][0];
            assert_eq!(tenant["grant"].as_str(), Some(name));
            assert_eq!(tenant["endpoints"]["scopes"]["smtp"].as_str(), Some(scope));
        }
        let changed = std::fs::read_to_string(&path).unwrap().replace("1587", "2587");
        std::fs::write(&path, &changed).unwrap();
        let written = sandbox.write_configuration_for(folder.path(), WrittenGrant::DeviceCode).unwrap();
        let earlier = written.earlier.unwrap();
        assert_eq!(std::fs::read_to_string(&earlier).unwrap(), changed);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), written.text);
    }

    #[tokio::test]
    async fn the_configuration_names_every_endpoint_and_keeps_the_secret_to_its_owner() {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("made");
        sandbox.write_configuration(&dir).unwrap();
        // Twice, as a second start would.
        let text = sandbox.write_configuration(&dir).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("postern.toml")).unwrap(), text);
        assert_eq!(std::fs::read_to_string(dir.join("client-secret")).unwrap(), sandbox.client_secret());
        assert_eq!(std::fs::read_to_string(dir.join("ca.pem")).unwrap(), sandbox.ca_pem());
        for (name, content) in [
            ("client-certificate.pem", sandbox.client_certificate_pem()),
            ("client-certificate.key", sandbox.client_key_pem()),
        ] {
            assert_eq!(std::fs::read_to_string(dir.join(name)).unwrap(), content);
        }
        assert_eq!(std::fs::read_to_string(dir.join("federated-token")).unwrap().split('.').count(), 3);
        let sign_in = std::fs::read_to_string(dir.join("refresh-token-alice@contoso.test")).unwrap();
        let redeemed = sandbox.tenant.tokens.redeem(&sign_in, "any", true, false).unwrap();
        assert_eq!(redeemed.map(|(user, _)| user).as_deref(), Ok("alice@contoso.test"));

        let read: toml::Table = text.parse().unwrap();
        assert_eq!(read["listener"].as_array().unwrap().len(), 6);
        let tenant = &read["tenant"][0];
        assert_eq!(tenant["client_secret_file"].as_str(), Some("client-secret"));
        let endpoints = &tenant["endpoints"];
        assert_eq!(endpoints["token_url"].as_str(), Some(sandbox.token_url().as_str()));
        assert_eq!(endpoints["authorize_url"].as_str(), Some(sandbox.authorize_url().as_str()));
        assert_eq!(endpoints["device_url"].as_str(), Some(sandbox.device_url().as_str()));
        assert_eq!(endpoints["imap"].as_str(), Some(sandbox.imap_address().to_string().as_str()));
        assert_eq!(endpoints["scopes"]["smtp"].as_str(), Some("https://outlook.office365.com/.default"));

        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(dir.join("client-secret")), 0o600);
            assert_eq!(mode(dir.join("client-certificate.key")), 0o600);
            assert_eq!(mode(dir.join("federated-token")), 0o600);
            assert_eq!(mode(dir.join("refresh-token-bob@contoso.test")), 0o600);
            assert_eq!(mode(dir), 0o700);
        }
    }
}
