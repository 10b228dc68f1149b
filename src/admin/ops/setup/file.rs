//! The configuration of a new tenant as text: a whole file, or a `[[tenant]]` at the end of one that is there.

use std::path::Path;

use toml::Value;

use crate::admin::ops::setup::{NewCredential, NewTenant, SetupError};
use crate::base::Protocol;
use crate::config::{Cloud, Config, Listener};

/// A whole new configuration in `folder`: `data_dir` (none means the system's own), listeners for `protocols`, and the tenant.
///
/// # Errors
/// [`SetupError::NotText`].
pub fn new_file(
    tenant: &NewTenant,
    folder: &Path,
    data_dir: Option<&Path>,
    protocols: &[Protocol],
) -> Result<String, SetupError> {
    let mut text = String::from(
        "# The configuration of Postern, begun by `postern setup`. `postern check` tells what is wrong with it; config/postern.toml in\n\
         # the sources shows every other setting.\n\n",
    );
    if let Some(data_dir) = data_dir {
        text.push_str("# The store, the keys and Postern's own certificates.\n");
        text.push_str(&line("data_dir", path(data_dir, folder)?));
        text.push('\n');
    }
    text.push_str("# What mail programs connect to: this machine alone. For others, put the machine's address in place of 127.0.0.1.\n");
    for listener in Listener::defaults().into_iter().filter(|listener| protocols.contains(&listener.protocol)) {
        text.push_str("[[listener]]\n");
        text.push_str(&line("protocol", listener.protocol.name()));
        text.push_str(&line("address", listener.address.to_string()));
        text.push_str(&line("tls", listener.tls.name()));
        text.push('\n');
    }
    text.push_str(
        "# What an administrator looks at in a browser on this machine; `postern console` signs in.\n[console]\n",
    );
    text.push_str(&line("address", Config::DEFAULT_CONSOLE.to_string()));
    text.push('\n');
    text.push_str(&tenant_block(tenant, folder)?);
    Ok(text)
}

/// The `[[tenant]]` alone, for a configuration in `folder`.
///
/// # Errors
/// [`SetupError::NotText`].
pub fn tenant_block(tenant: &NewTenant, folder: &Path) -> Result<String, SetupError> {
    let mut text = String::from("[[tenant]]\n");
    text.push_str(&line("name", tenant.name.as_str()));
    if tenant.cloud != Cloud::Global {
        text.push_str(&line("cloud", tenant.cloud.name()));
    }
    if let Some(tenant_id) = &tenant.tenant_id {
        text.push_str(&line("tenant_id", tenant_id.as_str()));
    }
    text.push_str(&line("client_id", tenant.client_id.as_str()));
    text.push_str(&line("grant", tenant.grant.name()));
    match &tenant.credential {
        NewCredential::Certificate { certificate, key } => {
            text.push_str(&line("certificate_file", path(certificate, folder)?));
            if let Some(key) = key {
                text.push_str(&line("key_file", path(key, folder)?));
            }
        }
        NewCredential::Federated(file) => text.push_str(&line("federated_token_file", path(file, folder)?)),
        NewCredential::None => {}
        NewCredential::Secret(file) => text.push_str(&line("client_secret_file", path(file, folder)?)),
    }
    if let Some(day) = tenant.client_secret_expires {
        text.push_str(&format!("client_secret_expires = {day}\n"));
    }
    if tenant.endpoints.is_empty() {
        return Ok(text);
    }
    text.push_str("\n[tenant.endpoints]\n");
    let mut scopes = Vec::new();
    for (key, value) in &tenant.endpoints {
        match key.name().strip_prefix("scopes.") {
            Some(protocol) => scopes.push(format!("{protocol} = {}", quoted(value.as_str()))),
            None if key.name() == "ca_file" => text.push_str(&line(key.name(), path(Path::new(value), folder)?)),
            None => text.push_str(&line(key.name(), value.as_str())),
        }
    }
    if !scopes.is_empty() {
        text.push_str(&format!("scopes = {{ {} }}\n", scopes.join(", ")));
    }
    Ok(text)
}

/// A configuration with one tenant more at its end; not a character of it is changed.
///
/// # Errors
/// [`SetupError::NotAppendable`] where that would mean something else than a tenant more, [`SetupError::NotText`].
pub fn appended(existing: &str, tenant: &NewTenant, folder: &Path) -> Result<String, SetupError> {
    let not = |why: &str| SetupError::NotAppendable { why: why.to_owned() };
    let block = tenant_block(tenant, folder)?;
    let gap = match existing {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let text = format!("{existing}{gap}{block}");
    let read = |text: &str| text.parse::<toml::Table>().map_err(|error| not(error.message()));
    let (mut before, added) = (read(existing)?, read(&block)?);
    let after = match read(&text) {
        Ok(after) => after,
        Err(_) if before.get("tenant").is_some_and(|tenant| !tenant.is_array() || is_inline(existing)) => {
            return Err(not("its tenants are not written as [[tenant]]"));
        }
        Err(error) => return Err(error),
    };
    // The file as it was, with the tenant added, and nothing else.
    let Some(Value::Array(added)) = added.get("tenant") else { return Err(not("the tenant is none")) };
    match before.entry("tenant").or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(tenants) => tenants.extend(added.iter().cloned()),
        _ => return Err(not("its tenants are not written as [[tenant]]")),
    }
    if after == before { Ok(text) } else { Err(not("it would be read as something else")) }
}

/// Whether the tenants stand in a list within brackets: `tenant = [{ … }]`.
fn is_inline(text: &str) -> bool {
    !text.lines().any(|line| line.trim_start().starts_with("[[tenant]]"))
}

fn line(key: &str, value: impl Into<String>) -> String {
    format!("{key} = {}\n", quoted(value))
}

/// A TOML string.
fn quoted(value: impl Into<String>) -> String {
    Value::String(value.into()).to_string()
}

/// A path as it is written in a configuration in `folder`: what lies beside the file by its name alone.
fn path(path: &Path, folder: &Path) -> Result<String, SetupError> {
    let within = path.strip_prefix(folder).ok().filter(|rest| rest.components().count() == 1);
    let text = within.unwrap_or(path).to_str();
    text.map(str::to_owned).ok_or_else(|| SetupError::NotText { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Grant;

    fn tenant() -> NewTenant {
        NewTenant {
            name: "contoso".into(),
            cloud: Cloud::Global,
            tenant_id: Some("11111111-2222-3333-4444-555555555555".into()),
            client_id: "66666666-7777-8888-9999-000000000000".into(),
            grant: Grant::ClientCredentials,
            credential: NewCredential::Certificate {
                certificate: "/etc/postern/contoso.pem".into(),
                key: Some("/etc/postern/contoso.key".into()),
            },
            client_secret_expires: None,
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn a_new_file_names_what_was_answered_and_nothing_else() {
        let text = new_file(&tenant(), Path::new("/etc/postern"), None, &[Protocol::Smtp]).unwrap();
        let written = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        assert_eq!(
            written.trim(),
            r#"[[listener]]
protocol = "smtp"
address = "127.0.0.1:1587"
tls = "starttls"

[[listener]]
protocol = "smtp"
address = "127.0.0.1:1465"
tls = "implicit"

[console]
address = "127.0.0.1:8587"

[[tenant]]
name = "contoso"
tenant_id = "11111111-2222-3333-4444-555555555555"
client_id = "66666666-7777-8888-9999-000000000000"
grant = "client_credentials"
certificate_file = "contoso.pem"
key_file = "contoso.key""#
        );
    }

    #[test]
    fn a_tenant_is_put_at_the_end_and_no_comment_is_lost() {
        let endpoints = vec![("token_url".parse().unwrap(), "https://x/token".to_owned())];
        let second = NewTenant { name: "second".into(), cloud: Cloud::Custom, endpoints, ..tenant() };
        let first = tenant_block(&tenant(), Path::new("/etc/postern")).unwrap();
        for existing in [
            String::new(),
            "# nothing yet".to_owned(),
            "data_dir = \"x\" # keep me".to_owned(),
            format!("{first}\n# keep me\n[tenant.endpoints]\nimap = \"x:993\"\n"),
            "[limits]\nconnections = 5\n".to_owned(),
            "a = '''\n[[tenant]]\n'''\r\n".to_owned(),
        ] {
            let text = appended(&existing, &second, Path::new("/etc/postern")).unwrap();
            assert!(text.starts_with(&existing), "{text}");
            let read: toml::Table = text.parse().unwrap();
            let tenants = read["tenant"].as_array().unwrap();
            let last = tenants.last().unwrap();
            assert_eq!(last["name"].as_str(), Some("second"), "{text}");
            assert_eq!(last["endpoints"]["token_url"].as_str(), Some("https://x/token"), "{text}");
        }
    }

    #[test]
    fn a_file_that_no_tenant_can_be_put_behind_is_refused() {
        for existing in ["tenant = [{ name = \"a\" }]\n", "tenant = 5\n", "[tenant]\nname = \"a\"\n", "not toml"] {
            let error = appended(existing, &tenant(), Path::new("/")).unwrap_err();
            assert!(matches!(error, SetupError::NotAppendable { .. }), "{existing}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_answered_is_read_back_as_it_was(
            answers in prop::array::uniform6("\\PC{0,12}|[\"'\\\\\n\r\t\u{0}-\u{7f}\u{2018}\u{85}#=\\[\\]{}]{0,12}"),
        ) {
            let [name, tenant_id, client_id, secret, smtp, scope] = answers;
            let hostile = NewTenant {
                name: name.clone(),
                tenant_id: Some(tenant_id.clone()),
                client_id: client_id.clone(),
                credential: NewCredential::Secret(Path::new("/elsewhere/x").join(&secret)),
                endpoints: vec![
                    ("smtp".parse().unwrap(), smtp.clone()),
                    ("scopes.smtp".parse().unwrap(), scope.clone()),
                ],
                ..tenant()
            };
            for text in [
                new_file(&hostile, Path::new("/etc/postern"), Some(Path::new("/data")), &Protocol::ALL).unwrap(),
                appended("data_dir = \"x\"\n", &hostile, Path::new("/etc/postern")).unwrap(),
            ] {
                let read: toml::Table = text.parse().unwrap();
                prop_assert_eq!(read["tenant"].as_array().unwrap().len(), 1);
                let tenant = &read["tenant"][0];
                prop_assert_eq!(tenant["name"].as_str(), Some(name.as_str()));
                prop_assert_eq!(tenant["tenant_id"].as_str(), Some(tenant_id.as_str()));
                prop_assert_eq!(tenant["client_id"].as_str(), Some(client_id.as_str()));
                let file = Path::new("/elsewhere/x").join(&secret);
                prop_assert_eq!(tenant["client_secret_file"].as_str(), file.to_str());
                prop_assert_eq!(tenant["endpoints"]["smtp"].as_str(), Some(smtp.as_str()));
                prop_assert_eq!(tenant["endpoints"]["scopes"]["smtp"].as_str(), Some(scope.as_str()));
                prop_assert_eq!(tenant.as_table().unwrap().len(), 6);
            }
        }
    }
}
