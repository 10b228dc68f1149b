//! A simulated tenant and a proxy on free loopback ports in this process, and what a test needs to talk to them.

#[cfg(unix)]
pub mod child;
pub mod proxy;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern::admin::ops::{IssueRequest, Issued, Ops};
use postern::app::App;
use postern::base::{Clock, Mailbox, Protocol};
use postern::config::{self, Config, Surroundings};
use postern::foundation::Bound;
use postern::sandbox::{Options, Sandbox, WrittenGrant};
use postern::store::{DeliveryMode, SenderScope};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen. `POSTERN_TEST_PATIENCE_SECONDS` makes it longer for slow machines.
pub fn patience() -> Duration {
    let seconds = std::env::var("POSTERN_TEST_PATIENCE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    Duration::from_secs(seconds)
}

/// Waits for what must happen, and fails the test with `what` if it does not.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(patience(), work).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Asks again and again until the answer is yes.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Turns the clock that waiting is measured by (tokio's) forward, for all that runs in this test: it must run on one thread, so
/// `#[tokio::test]` without more. What is due by then happens as soon as the test waits for something.
pub async fn turn_clock(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// The folder of a world, and how its proxy and tenant are to be.
pub struct Plan {
    /// The simulated tenant.
    pub sandbox: Options,
    /// `client_credentials`, or a delegated grant.
    pub grant: &'static str,
    /// Further lines for the configuration, below the listeners.
    pub more: String,
    /// What else is to be changed in the configuration.
    pub edit: fn(String) -> String,
    /// The clock of the gate, of Exchange's limits and of the queue.
    pub clock: Clock,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            sandbox: Options::default(),
            grant: "client_credentials",
            more: String::new(),
            edit: |text| text,
            clock: Clock::system(),
        }
    }
}

/// A simulated tenant and a proxy in front of it.
pub struct World {
    pub sandbox: Sandbox,
    pub config: Config,
    pub ops: Ops,
    pub bound: Vec<Bound>,
    /// Where the console is.
    pub console: Option<SocketAddr>,
    /// Where figures are given out.
    pub metrics: Option<SocketAddr>,
    /// The CA of the proxy's listeners, PEM.
    pub ca_pem: String,
    clock: Clock,
    stop: CancellationToken,
    /// Kept so that the proxy does not take its end for a wish.
    _reload: mpsc::Sender<()>,
    running: Option<JoinHandle<Result<(), postern::app::AppError>>>,
    folder: TempDir,
}

impl World {
    /// With `alice@contoso.test`, `bob@contoso.test` and `shared@contoso.test` on the list.
    pub async fn start() -> World {
        Self::planned(Plan::default()).await
    }

    /// As `start`, according to a plan.
    pub async fn planned(plan: Plan) -> World {
        // Tests make many at once, and have them all on their stack.
        Box::pin(Self::made(plan)).await
    }

    async fn made(plan: Plan) -> World {
        let sandbox = Sandbox::start(plan.sandbox.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = configure(&sandbox, folder.path(), &plan);
        let ops = Ops::open(&config).await.unwrap();
        for address in ["alice@contoso.test", "bob@contoso.test", "shared@contoso.test"] {
            ops.add_mailbox(&address.parse().unwrap(), Some("contoso"), &[], None).await.unwrap();
        }
        let mut world = World {
            sandbox,
            config,
            ops,
            bound: Vec::new(),
            console: None,
            metrics: None,
            ca_pem: String::new(),
            clock: plan.clock.clone(),
            stop: CancellationToken::new(),
            _reload: mpsc::channel(1).0,
            running: None,
            folder,
        };
        world.serve().await;
        world
    }

    /// Starts the proxy (again).
    pub async fn serve(&mut self) {
        let app = Box::pin(App::build_with_clock(&self.config, self.clock.clone())).await.unwrap();
        self.bound = app.bound();
        self.console = app.console_address();
        self.metrics = app.metrics_address();
        self.ca_pem = app.ca().unwrap().pem.clone();
        self.stop = CancellationToken::new();
        let stop = self.stop.clone();
        let (reload, reloads) = mpsc::channel(1);
        self._reload = reload;
        self.running = Some(tokio::spawn(app.run(async move { stop.cancelled().await }, reloads)));
    }

    /// Stops the proxy as SIGTERM does, and waits until it has.
    pub async fn stop_serving(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            within("the proxy to stop", running).await.unwrap().unwrap();
        }
    }

    /// The folder that everything lies in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("postern.toml")
    }

    /// Takes up what a test has changed in the configuration file, for the next `serve`.
    pub fn read_configuration(&mut self) {
        self.config = read_configuration(self.folder.path());
    }

    /// The address of a listener.
    pub fn address(&self, protocol: Protocol, tls: &str) -> SocketAddr {
        let found = self.bound.iter().find(|bound| bound.protocol == protocol.name() && bound.tls == tls);
        found.unwrap().address.parse().unwrap()
    }

    /// Issues an app password for a mailbox.
    pub async fn issue(&self, mailbox: &str) -> String {
        self.issue_with(mailbox, |_| {}).await.password.expose().clone()
    }

    /// Issues an app password after `change` has seen the request.
    pub async fn issue_with(&self, mailbox: &str, change: impl FnOnce(&mut IssueRequest)) -> Issued {
        let mut request = IssueRequest {
            senders: SenderScope::default(),
            scope: postern::store::UseScope::default(),
            owner: None,
            note: None,
            mailbox: mailbox.parse::<Mailbox>().unwrap(),
            label: "test".to_owned(),
            protocols: Vec::new(),
            networks: Vec::new(),
            expires_at: None,
            short: false,
            delivery: DeliveryMode::Direct,
        };
        change(&mut request);
        self.ops.issue_password(request).await.unwrap()
    }

    /// Writes to the store past everything, as if time had gone by.
    pub async fn aged(&self, change: &'static str) {
        use sqlx::ConnectOptions;
        let file = self.config.data_dir.join(postern::store::SqliteStore::FILE);
        let mut store = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        sqlx::query(change).execute(&mut store).await.unwrap();
    }

    /// Connects in the clear.
    pub async fn connect(&self, protocol: Protocol, tls: &str) -> Peer<TcpStream> {
        Peer::new(TcpStream::connect(self.address(protocol, tls)).await.unwrap())
    }

    /// Connects with implicit TLS, trusting the proxy's CA.
    pub async fn connect_tls(&self, protocol: Protocol) -> Peer<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address(protocol, "implicit")).await.unwrap();
        Peer::new(self.handshake(stream).await)
    }

    /// An SMTP session that is logged in, in the clear.
    pub async fn smtp(&self, login: &str, password: &str) -> Peer<TcpStream> {
        let mut smtp = self.connect(Protocol::Smtp, "none").await;
        assert!(smtp.reply().await.starts_with("220 "));
        assert!(smtp.smtp("EHLO client.test").await.starts_with("250-"));
        let told = smtp.smtp(&format!("AUTH PLAIN {}", plain(login, password))).await;
        assert!(told.starts_with("235 2.7.0 "), "{told}");
        smtp
    }

    /// An IMAP connection in the clear, and what it hears to LOGIN.
    pub async fn imap(&self, login: &str, password: &str) -> (Peer<TcpStream>, String) {
        let mut imap = self.connect(Protocol::Imap, "none").await;
        assert!(imap.line().await.starts_with("* OK "));
        let told = imap.imap(&format!("in LOGIN \"{}\" {password}", login.replace('\\', "\\\\"))).await;
        (imap, told)
    }

    /// A POP3 connection in the clear, and what it hears to PASS.
    pub async fn pop3(&self, login: &str, password: &str) -> (Peer<TcpStream>, String) {
        let mut pop3 = self.connect(Protocol::Pop3, "none").await;
        assert!(pop3.line().await.starts_with("+OK "));
        assert!(pop3.ask(&format!("USER {login}")).await.starts_with("+OK"));
        let told = pop3.ask(&format!("PASS {password}")).await;
        (pop3, told)
    }

    /// Waits until the proxy has once, from beginning to end, looked for what was changed in the store. It ends the sessions of revoked
    /// app passwords in the middle of that, so between two such ends lies a whole look.
    pub async fn upkeep(&self) {
        for _ in 0..2 {
            let issued = self.issue_with("bob@contoso.test", |_| {}).await;
            let mut smtp = self.smtp("bob@contoso.test", issued.password.expose()).await;
            self.ops.revoke_password(&issued.row.id).await.unwrap();
            let told = smtp.rest().await;
            assert!(told.starts_with("421 4.3.2 "), "{told}");
        }
    }

    /// Gives the tenant a fault, `name` or `name=value`.
    pub fn fault(&self, fault: &str) {
        // What concerns logins and connections would else be met by new ones only.
        self.sandbox.end_idle_submissions();
        let (name, value) = postern::sandbox::read_fault(fault).unwrap();
        self.sandbox.faults().set(name, value.as_deref()).unwrap();
    }

    /// Does the handshake as a client that trusts the proxy's CA.
    pub async fn handshake(&self, stream: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(client_tls(&self.ca_pem)).connect(name, stream).await.unwrap()
    }
}

/// TLS of a client that trusts this CA and nothing else.
pub fn client_tls(ca_pem: &str) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut anchors = rustls::RootCertStore::empty();
    anchors.add(rustls::pki_types::CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(anchors).with_no_client_auth())
}

fn configure(sandbox: &Sandbox, folder: &Path, plan: &Plan) -> Config {
    let grant = match plan.grant {
        "client_credentials" => WrittenGrant::ClientCredentials,
        "authorization_code" => WrittenGrant::AuthorizationCode,
        "device_code" => WrittenGrant::DeviceCode,
        other => panic!("no grant is called {other}"),
    };
    let text = sandbox.write_configuration_for(folder, grant).unwrap().text;
    // Free ports instead of the default ones, and listeners without TLS beside them.
    let mut text = text
        .lines()
        .map(|line| match line.split_once("127.0.0.1:") {
            Some((before, _)) if line.trim_start().starts_with("address") => format!("{before}127.0.0.1:0\""),
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    for protocol in ["smtp", "imap", "pop3"] {
        text.push_str(&format!(
            "\n[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n"
        ));
    }
    text.push_str(&plan.more);
    let text = (plan.edit)(text);
    let path = folder.join("postern.toml");
    std::fs::write(&path, &text).unwrap();
    read_configuration(folder)
}

fn read_configuration(folder: &Path) -> Config {
    let path = folder.join("postern.toml");
    let surroundings = Surroundings {
        named: None,
        current_dir: folder.to_owned(),
        system_file: folder.join("none.toml"),
        system_data_dir: folder.join("none"),
        now: chrono::Utc::now(),
    };
    match config::load(Some(&path), &surroundings) {
        Ok(loaded) => loaded.config,
        Err(faulty) => panic!("{faulty}: {:#?}", faulty.faults),
    }
}

/// What arrived of a message, without the fields that Postern puts in front; that those are all that was added is looked at.
pub fn as_handed_in<'c>(content: &'c [u8], message: &[u8]) -> &'c [u8] {
    let (added, rest) = content.split_at(content.len().saturating_sub(message.len()));
    let added = String::from_utf8_lossy(added);
    assert!(added.starts_with("Received: by "), "{added}");
    // A message without a header has an empty line in front of it as well.
    let known = ["Received: ", "\twith ESMTPA id ", "\t", "From: ", "Date: ", "Message-ID: <"];
    for line in added.trim_end_matches("\r\n").split("\r\n") {
        assert!(known.iter().any(|beginning| line.starts_with(beginning)), "{line:?} was added");
    }
    assert!(added.lines().count() <= 7, "{added}");
    rest
}

/// A peer that knows no protocol: it sends octets and reads lines.
pub struct Peer<S> {
    pub stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends octets.
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        within("the peer to take what is sent", async {
            self.stream.write_all(octets.as_ref()).await.unwrap();
            self.stream.flush().await.unwrap();
        })
        .await;
    }

    /// The next line without its end; empty at the end of the stream.
    pub async fn line(&mut self) -> String {
        within("a line", async {
            let mut octets = Vec::new();
            loop {
                match self.stream.read_u8().await {
                    Ok(b'\n') | Err(_) => break,
                    Ok(octet) => octets.push(octet),
                }
            }
            String::from_utf8_lossy(&octets).trim_end_matches('\r').to_owned()
        })
        .await
    }

    /// Sends a line and gives the next line that comes back.
    pub async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.line().await
    }

    /// Sends an SMTP command and gives all lines of its reply.
    pub async fn smtp(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.reply().await
    }

    /// All lines of an SMTP reply, joined by line feeds.
    pub async fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                return lines.join("\n");
            }
        }
    }

    /// Sends an IMAP command and gives all lines up to its tagged answer, joined by line feeds. Literals are not looked into.
    pub async fn imap(&mut self, command: &str) -> String {
        let tag = command.split(' ').next().unwrap().to_owned();
        self.send(format!("{command}\r\n")).await;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let last = line.starts_with(&format!("{tag} ")) || line.is_empty();
            lines.push(line);
            if last {
                return lines.join("\n");
            }
        }
    }

    /// So many octets.
    pub async fn octets(&mut self, count: usize) -> Vec<u8> {
        within("octets", async {
            let mut octets = vec![0; count];
            self.stream.read_exact(&mut octets).await.unwrap();
            octets
        })
        .await
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> String {
        within("the end of the stream", async {
            let mut octets = Vec::new();
            // A reset is an end too.
            drop(self.stream.read_to_end(&mut octets).await);
            String::from_utf8_lossy(&octets).into_owned()
        })
        .await
    }
}

/// The PLAIN response for a login.
pub fn plain(login: &str, password: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("\0{login}\0{password}"))
}

/// The reference in an answer.
pub fn reference(told: &str) -> String {
    let (_, behind) = told.rsplit_once("ref ").unwrap_or_else(|| panic!("no reference in `{told}`"));
    let reference: String = behind.chars().take_while(char::is_ascii_alphanumeric).collect();
    assert_eq!(reference.len(), 6, "{told}");
    reference
}
