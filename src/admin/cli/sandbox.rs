//! `postern sandbox`: the simulated tenant alone, with a configuration that makes `serve` use it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::{Failure, with_causes};
use crate::admin::cli::output::Tone;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::signals::Signals;
use crate::admin::tables::Entry;
use crate::sandbox::{FaultName, Faults, Options, Sandbox, SandboxError, WrittenGrant, is_redirect_uri};

/// Run the simulated tenant alone: token service, IMAP, SMTP, POP3 and Graph on loopback
///
/// A configuration that makes `postern serve` use it goes to stdout. It runs until SIGTERM or SIGINT, and nothing of what it
/// holds outlives it.
#[derive(Args, Debug)]
pub(super) struct SandboxCommand {
    /// Where postern.toml, ca.pem, what the application proves itself with, and a refresh-token-ADDRESS for each mailbox are written [default: a folder that goes when it ends]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The port of the token service [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    token_port: u16,
    /// The port of IMAP [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    imap_port: u16,
    /// The port of SMTP [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    smtp_port: u16,
    /// The port of POP3 [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pop3_port: u16,
    /// The port of Graph [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    graph_port: u16,
    /// The grant in the configuration: client_credentials (the application itself), authorization_code or device_code (users)
    #[arg(long, value_name = "GRANT", value_parser = written_grant, default_value = "client_credentials")]
    grant: WrittenGrant,
    /// A redirect URI of the applications, beside http://localhost and http://127.0.0.1 (any port, no path); can be repeated
    #[arg(long = "redirect-uri", value_name = "URI", value_parser = redirect_uri)]
    redirect_uris: Vec<String>,
    /// A fault that the tenant has from the start; can be repeated
    #[arg(long = "fault", value_name = "NAME[=VALUE]", value_parser = fault)]
    faults: Vec<(FaultName, Option<String>)>,
    /// List the faults and end
    #[arg(long)]
    list_faults: bool,
}

/// Reads `NAME` or `NAME=VALUE`, and whether the fault takes that.
fn fault(text: &str) -> Result<(FaultName, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let name = FaultName::from_str(name).map_err(|error| error.to_string())?;
    Faults::default().set(name, value).map_err(|error| error.to_string())?;
    Ok((name, value.map(str::to_owned)))
}

fn written_grant(text: &str) -> Result<WrittenGrant, String> {
    Ok(match text {
        "client_credentials" => WrittenGrant::ClientCredentials,
        "authorization_code" => WrittenGrant::AuthorizationCode,
        "device_code" => WrittenGrant::DeviceCode,
        _ => return Err("write client_credentials, authorization_code or device_code".to_owned()),
    })
}

/// Reads an address that a browser may be sent back to.
fn redirect_uri(text: &str) -> Result<String, String> {
    if is_redirect_uri(text) {
        Ok(text.to_owned())
    } else {
        Err("it is not a whole address without a fragment, such as http://localhost/callback".to_owned())
    }
}

#[derive(Serialize)]
struct FaultDocument {
    name: &'static str,
    value: &'static str,
    description: &'static str,
}

#[derive(Serialize)]
struct Document<'a> {
    configuration: &'a str,
    dir: String,
    authorize_url: String,
    device_url: String,
    token_url: String,
    introspection_url: String,
    imap: String,
    smtp: String,
    pop3: String,
    graph: String,
}

impl SandboxCommand {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        if self.list_faults {
            return list_faults(set_up);
        }
        set_up.run_service(self.serve(set_up))
    }

    async fn serve(self, set_up: &SetUp) -> Result<(), Failure> {
        let mut signals = Signals::listen_with_hangup()?;
        let folder = Folder::named_or_passing(self.dir)?;
        let options = Options {
            token_port: self.token_port,
            imap_port: self.imap_port,
            smtp_port: self.smtp_port,
            pop3_port: self.pop3_port,
            graph_port: self.graph_port,
            faults: self.faults,
            ..Options::default()
        };
        let mailboxes = options.mailboxes.join(", ");
        let sandbox = Sandbox::start(options).await.map_err(failed)?;
        for uri in &self.redirect_uris {
            sandbox.register_redirect_uri(uri);
        }
        let written = sandbox.write_configuration_for(&folder.path, self.grant).map_err(failed)?;
        let text = with_whole_paths(&written.text, &folder.path);
        let output = &set_up.output;
        if let Some(earlier) = &written.earlier {
            let message =
                "somebody has changed postern.toml since it was written, and it is written anew at each start";
            let remedy = format!("Take what was changed from `{}`, or serve a copy.", earlier.display());
            output.problem(Tone::Warning, message, Some(&remedy));
        }
        if output.is_json() {
            output.json(&Document {
                configuration: &text,
                dir: folder.path.display().to_string(),
                authorize_url: sandbox.authorize_url(),
                device_url: sandbox.device_url(),
                token_url: sandbox.token_url(),
                introspection_url: sandbox.introspection_url(),
                imap: sandbox.imap_address().to_string(),
                smtp: sandbox.smtp_address().to_string(),
                pop3: sandbox.pop3_address().to_string(),
                graph: sandbox.graph_url(),
            })?;
        } else {
            output.data(&text)?;
        }
        output.note(&format!("sign in {}", sandbox.authorize_url()));
        output.note(&format!("device  {} (codes are entered here)", sandbox.device_login_url()));
        output.note(&format!("token   {}", sandbox.token_url()));
        output.note(&format!("introspection {}", sandbox.introspection_url()));
        output.note(&format!("imap    {} (implicit TLS)", sandbox.imap_address()));
        output.note(&format!("smtp    {} (STARTTLS)", sandbox.smtp_address()));
        output.note(&format!("pop3    {} (implicit TLS)", sandbox.pop3_address()));
        output.note(&format!("graph   {}", sandbox.graph_url()));
        output.note(&format!("mailboxes: {mailboxes}"));
        output.note(&format!("try it: postern --config '{}' serve", folder.path.join("postern.toml").display()));
        output.note("the simulated tenant is ready");
        signals.stop().await;
        sandbox.stop().await;
        Ok(())
    }
}

fn list_faults(set_up: &SetUp) -> Result<(), Failure> {
    if set_up.output.is_json() {
        let faults = FaultName::ALL.iter().map(|fault| FaultDocument {
            name: fault.name(),
            value: fault.value(),
            description: fault.description(),
        });
        return set_up.output.json(&faults.collect::<Vec<_>>());
    }
    let rows = FaultName::ALL
        .iter()
        .map(|fault| vec![fault.name().into(), Entry::Faint(fault.value().to_owned()), fault.description().into()]);
    set_up.output.table(&["FAULT", "VALUE", "WHAT HAPPENS"], rows.collect())
}

fn failed(error: SandboxError) -> Failure {
    let remedy = match &error {
        SandboxError::Bind { .. } => "Name another port, or leave it out for a free one.",
        SandboxError::Write { .. } => "Name a folder that this user may write to with --dir.",
        _ => "Run it with -vv and look at what it says.",
    };
    Failure::operation("sandbox", with_causes(&error), remedy)
}

/// The paths in the file are taken from its folder. On stdout it may end up in another one, so they are whole there.
fn with_whole_paths(text: &str, dir: &Path) -> String {
    let whole = |line: &str| {
        let (key, value) = line.split_once(" = ")?;
        // Also those that are there to be switched on.
        let name = key.strip_prefix("# ").unwrap_or(key);
        if name != "data_dir" && !name.ends_with("_file") {
            return None;
        }
        let path = dir.join(value.trim_matches('"')).display().to_string();
        Some(format!("{key} = {}", toml::Value::String(path)))
    };
    text.lines().map(|line| format!("{}\n", whole(line).unwrap_or_else(|| line.to_owned()))).collect()
}

/// The folder that the configuration is written to.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    passing: bool,
}

impl Folder {
    pub(super) fn named_or_passing(named: Option<PathBuf>) -> Result<Self, Failure> {
        let passing = named.is_none();
        let made = match named {
            Some(path) => std::path::absolute(path),
            None => make_passing(),
        };
        let path = made.map_err(|error| {
            let message = format!("no folder can be made: {error}");
            Failure::operation("sandbox", message, "Name a folder that this user may write to with --dir.")
        })?;
        Ok(Self { path, passing })
    }
}

/// Makes a folder of a new name for this user alone. One that is there already is never taken: it may be another's.
fn make_passing() -> std::io::Result<PathBuf> {
    let moment = chrono::Utc::now().timestamp_micros();
    let path = std::env::temp_dir().join(format!("postern-sandbox-{}-{moment}", std::process::id()));
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&path)?;
    Ok(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.passing {
            // What cannot be removed is left to the system, which clears that place.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{fault, with_whole_paths};

    #[test]
    fn a_fault_is_a_name_that_exists_with_a_value_that_it_takes() {
        for (text, accepted) in [
            ("token-hang", true),
            ("token-status=503", true),
            ("token-status=many", false),
            ("token-status", false),
            ("token-hang=1", false),
            ("no-such-fault", false),
            ("", false),
        ] {
            assert_eq!(fault(text).is_ok(), accepted, "{text}");
        }
    }

    #[test]
    fn on_stdout_the_paths_are_whole() {
        let text =
            "data_dir = \"data\"\nimap = \"127.0.0.1:1\"\nca_file = \"ca.pem\"\n# key_file = \"key\"\n# imap = \"1\"\n";
        let whole = with_whole_paths(text, Path::new("/srv/a b"));
        assert_eq!(
            whole,
            "data_dir = \"/srv/a b/data\"\nimap = \"127.0.0.1:1\"\nca_file = \"/srv/a b/ca.pem\"\n\
             # key_file = \"/srv/a b/key\"\n# imap = \"1\"\n"
        );
    }
}
