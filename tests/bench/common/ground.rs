//! The ground of a benchmark: a simulated tenant in this process, a folder with the store of a proxy, and the ways to the tenant.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use chrono::Utc;
use postern::admin::ops::{IssueRequest, Ops};
use postern::base::{Mailbox, Protocol};
use postern::config::{self, Config, Surroundings};
use postern::sandbox::{Options, Sandbox};
use postern::store::{DeliveryMode, SenderScope};
use serde::Deserialize;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use crate::common::client::{Place, User, trusting};
use crate::common::forwarder::Forwarder;
use crate::common::process::Measured;

/// The ground.
pub struct Ground {
    pub sandbox: Sandbox,
    pub ops: Ops,
    pub config: Config,
    pub users: Vec<Arc<User>>,
    tls: TlsConnector,
    folder: TempDir,
}

/// A way to the tenant: directly, through the forwarder, or through Postern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    Forwarder,
    Postern,
}

impl Ground {
    /// A tenant with so many mailboxes, and a store that has them on its list, each with an app password.
    pub async fn new(mailboxes: usize) -> Result<Self> {
        let addresses: Vec<String> = (0..mailboxes).map(|number| format!("user{number:04}@contoso.test")).collect();
        let options = Options { mailboxes: addresses.clone(), ..Options::default() };
        let sandbox = Sandbox::start(options).await?;
        let folder = tempfile::tempdir()?;
        let config = configure(&sandbox, folder.path())?;
        let ops = Ops::open(&config).await?;
        let authority = postern::listener::certificate::ensure(&config.certificate_dir(), &[], Utc::now())?;
        let authority = authority.ca.context("a certificate of one's own")?.pem;
        let tls = trusting(&[sandbox.ca_pem().to_owned(), authority])?;
        let token = token(&sandbox).await?;
        let mut users = Vec::with_capacity(mailboxes);
        for address in addresses {
            let mailbox: Mailbox = address.parse()?;
            ops.add_mailbox(&mailbox, None, &[], None).await?;
            let password = issue(&ops, &mailbox).await?;
            users.push(Arc::new(User { xoauth2: xoauth2(&address, &token), address, password }));
        }
        let mut tls = tls;
        // Old clients resume no sessions: every login is a whole handshake.
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(Self { sandbox, ops, config, users, tls: TlsConnector::from(Arc::new(tls)), folder })
    }

    /// Starts what stands on a way, if something does, and says where clients have to go.
    pub async fn open(&self, way: Way, protocol: Protocol) -> Result<(Option<Measured>, Place)> {
        let starttls = protocol == Protocol::Smtp;
        let far_side = match protocol {
            Protocol::Imap => self.sandbox.imap_address(),
            Protocol::Pop3 => self.sandbox.pop3_address(),
            Protocol::Smtp => self.sandbox.smtp_address(),
        };
        let place = |address: SocketAddr| Place { address, protocol, way, tls: self.tls.clone() };
        match way {
            Way::Direct => Ok((None, place(far_side))),
            Way::Forwarder => {
                let forwarder = Forwarder::start(self.folder.path(), far_side, starttls)?;
                Ok((Some(forwarder.process), place(forwarder.address)))
            }
            Way::Postern => {
                let (process, listeners) = self.serve()?;
                let found = listeners.iter().find(|bound| bound.protocol == protocol.name() && bound.tls == "implicit");
                Ok((Some(process), place(found.context("no such listener")?.address)))
            }
        }
    }

    /// Starts `postern serve`. Its log goes to a file, as loud as it is by default.
    fn serve(&self) -> Result<(Measured, Vec<Bound>)> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("--config").arg(self.folder.path().join("postern.toml")).args(["--json", "serve"]).stderr(log);
        let mut process = Measured::start(&mut command)?;
        let mut documents = serde_json::Deserializer::from_reader(process.stdout()?).into_iter();
        let bound: Document = documents.next().with_context(|| format!("postern did not start\n{}", self.log()))??;
        Ok((process, bound.listeners))
    }

    /// The end of Postern's log.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

#[derive(Deserialize)]
struct Document {
    listeners: Vec<Bound>,
}

#[derive(Deserialize)]
struct Bound {
    protocol: String,
    tls: String,
    address: SocketAddr,
}

/// Issues an app password that may do everything, for messages that are not kept.
pub async fn issue(ops: &Ops, mailbox: &Mailbox) -> Result<String> {
    issue_for(ops, mailbox, DeliveryMode::Direct).await
}

/// Issues an app password that may do everything.
pub async fn issue_for(ops: &Ops, mailbox: &Mailbox, delivery: DeliveryMode) -> Result<String> {
    let request = IssueRequest {
        senders: SenderScope::default(),
        scope: postern::store::UseScope::default(),
        owner: None,
        note: None,
        mailbox: mailbox.clone(),
        label: "benchmark".to_owned(),
        protocols: Vec::new(),
        networks: Vec::new(),
        expires_at: None,
        short: false,
        delivery,
    };
    Ok(ops.issue_password(request).await?.password.expose().clone())
}

fn configure(sandbox: &Sandbox, folder: &Path) -> Result<Config> {
    let text = sandbox.write_configuration(folder)?;
    let free_port = |line: &str| match line.strip_prefix("address = \"127.0.0.1:") {
        Some(_) => "address = \"127.0.0.1:0\"".to_owned(),
        None => line.to_owned(),
    };
    let mut text = text.lines().map(free_port).collect::<Vec<_>>().join("\n");
    // What Exchange takes from a mailbox is not what is measured.
    text.push_str("\n[tenant.limits]\nat_once = 1000\nper_minute = 1000000\nrecipients_per_day = 1000000000\n");
    let path = folder.join("postern.toml");
    std::fs::write(&path, text)?;
    let surroundings = Surroundings::of_this_process(Utc::now());
    let loaded = config::load(Some(&path), &surroundings).map_err(|faulty| anyhow!("{faulty}: {:?}", faulty.faults))?;
    Ok(loaded.config)
}

/// An access token for clients that go to the tenant themselves.
async fn token(sandbox: &Sandbox) -> Result<String> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
    }
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        ("scope", "https://outlook.office365.com/.default"),
    ];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let tls = trusting(&[sandbox.ca_pem().to_owned()])?;
    let answer = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()?
        .post(sandbox.token_url())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await?
        .error_for_status()?;
    let granted: Granted = serde_json::from_slice(&answer.bytes().await?)?;
    Ok(granted.access_token)
}

fn xoauth2(address: &str, token: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("user={address}\x01auth=Bearer {token}\x01\x01"))
}
