//! Signing in: by browser, by device code, as somebody else; and the life of a sign-in afterwards.

use std::time::Duration;

use postern::admin::ops::MailboxState;
use postern::base::{Fault, Mailbox, Protocol, Whose};
use postern::broker::{BrowserSignIn, Redirected};
use postern::store::{SignIns, SqliteStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use crate::common::{Plan, World, eventually, turn_clock, within};

const ALICE: &str = "alice@contoso.test";

fn alice() -> Mailbox {
    ALICE.parse().unwrap()
}

async fn delegated(grant: &'static str) -> World {
    World::planned(Plan { grant, ..Plan::default() }).await
}

/// Does as a browser does: asks for the address, and gives the one that it is sent on to.
async fn browse(address: &Url) -> String {
    let host = format!("{}:{}", address.host_str().unwrap(), address.port().unwrap());
    let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
    let target = format!("{}?{}", address.path(), address.query().unwrap_or_default());
    stream
        .write_all(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let location = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    location.unwrap_or_else(|| panic!("it is not sent on: {answer}"))
}

fn answer(sign_in: &BrowserSignIn, address: &str) -> postern::base::Secret<String> {
    match sign_in.judge(address) {
        Redirected::Answer(answer) => answer,
        Redirected::Stray => panic!("{address} is the answer"),
    }
}

/// Whether each protocol lets Alice in.
async fn served(world: &World, password: &str) -> [(Protocol, bool); 3] {
    let mut smtp = world.smtp(ALICE, password).await;
    let by_smtp = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await.starts_with("250 ");
    let by_imap = world.imap(ALICE, password).await.1.starts_with("in OK ");
    let by_pop3 = world.pop3(ALICE, password).await.1.starts_with("+OK");
    [(Protocol::Smtp, by_smtp), (Protocol::Imap, by_imap), (Protocol::Pop3, by_pop3)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_a_browser_and_is_served_by_all_protocols() {
    let world = delegated("authorization_code").await;
    world.fault("authorize-as=alice@contoso.test");
    let desk = world.ops.sign_in_desk(&alice()).await.unwrap();
    let sign_in = desk.begin_in_browser("http://localhost:53682").unwrap();
    let asked: Vec<(String, String)> = sign_in.url().query_pairs().into_owned().collect();
    let value = |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(value("response_type"), Some("code"));
    assert_eq!(value("code_challenge_method"), Some("S256"));
    assert_eq!(value("redirect_uri"), Some("http://localhost:53682"));
    assert_eq!(value("login_hint"), Some(ALICE));
    for scope in ["SMTP.Send", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "offline_access"] {
        assert!(value("scope").unwrap().split(' ').any(|named| named.ends_with(scope)), "{scope}");
    }

    let redirected = browse(sign_in.url()).await;
    assert!(redirected.starts_with("http://localhost:53682"), "{redirected}");
    for stray in [
        "http://localhost:53682/".to_owned(),
        "http://localhost:53682/favicon.ico".to_owned(),
        "http://localhost:53682/?code=stolen&state=guessed".to_owned(),
        redirected.replace("state=", "state=x"),
    ] {
        assert!(matches!(sign_in.judge(&stray), Redirected::Stray), "{stray}");
    }
    let connected = desk.finish_in_browser(&sign_in, &answer(&sign_in, &redirected)).await.unwrap();
    assert!(connected.without.is_empty(), "{connected:?}");
    assert_eq!(world.ops.mailbox(&alice()).await.unwrap().state, MailboxState::Ready);
    let password = world.issue(ALICE).await;
    assert!(served(&world, &password).await.iter().all(|(_, served)| *served));

    // A code is good once.
    let again = desk.finish_in_browser(&sign_in, &answer(&sign_in, &redirected)).await.unwrap_err();
    assert!(again.to_string().contains("AADSTS54005"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_says_no_and_one_who_is_somebody_else_leave_nothing_behind() {
    for (fault, code, said) in [
        ("authorize-error=65004", "token-refused", "AADSTS65004"),
        ("authorize-as=bob@contoso.test", "signed-in-as-another", "bob@contoso.test has signed in"),
    ] {
        let world = delegated("authorization_code").await;
        world.fault(fault);
        let desk = world.ops.sign_in_desk(&alice()).await.unwrap();
        let sign_in = desk.begin_in_browser("http://localhost:53682").unwrap();
        let redirected = browse(sign_in.url()).await;
        let error = desk.finish_in_browser(&sign_in, &answer(&sign_in, &redirected)).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        let row = world.ops.mailbox(&alice()).await.unwrap();
        assert_eq!(row.state, MailboxState::NeedsSignIn, "{fault}");
    }
    // Nor does a refresh token of somebody else.
    let world = delegated("authorization_code").await;
    let bobs = postern::base::Secret::new(world.sandbox.refresh_token_for("bob@contoso.test"));
    let error = world.ops.connect_with_refresh_token(&alice(), bobs).await.unwrap_err();
    assert_eq!(error.code(), "signed-in-as-another", "{error}");
    assert!(error.remedy().unwrap().contains("--sign-in-as bob@contoso.test"), "{:?}", error.remedy());
    assert_eq!(error.whose(), Whose::User);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_code_is_waited_for_and_kept_only_for_the_account_that_was_meant() {
    let world = delegated("device_code").await;
    world.fault("device-interval=0");
    world.fault("device-as=alice@contoso.test");
    let desk = world.ops.sign_in_desk(&alice()).await.unwrap();
    let sign_in = desk.begin_by_device().await.unwrap();
    assert!(!sign_in.user_code().is_empty() && sign_in.address().starts_with("http://"));
    let connected = desk.finish_by_device(sign_in).await.unwrap();
    assert!(connected.without.is_empty(), "{connected:?}");
    let password = world.issue(ALICE).await;
    assert!(served(&world, &password).await.iter().all(|(_, served)| *served));

    for (fault, code, said) in [
        ("device-as=bob@contoso.test", "signed-in-as-another", "bob@contoso.test"),
        ("device-blocked", "token-refused", "AADSTS53003"),
        ("device-error=7000218", "token-refused", "AADSTS7000218"),
        ("device-lifetime=1", "sign-in-not-finished", "in time"),
    ] {
        let world = delegated("device_code").await;
        world.fault("device-interval=0");
        world.fault(fault);
        let desk = world.ops.sign_in_desk(&alice()).await.unwrap();
        let error = match desk.begin_by_device().await {
            Ok(sign_in) => desk.finish_by_device(sign_in).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code(), code, "{fault}: {error}");
        assert!(error.to_string().contains(said), "{fault}: {error}");
        assert_eq!(world.ops.mailbox(&alice()).await.unwrap().state, MailboxState::NeedsSignIn, "{fault}");
    }
}

#[tokio::test]
async fn a_device_code_outlives_a_token_service_that_throttles_and_its_time_is_kept() {
    let world = delegated("device_code").await;
    world.fault("device-interval=0");
    world.fault("device-as=alice@contoso.test");
    let desk = world.ops.sign_in_desk(&alice()).await.unwrap();
    let sign_in = desk.begin_by_device().await.unwrap();
    world.fault("token-retry-after=30");
    let polls = || world.sandbox.tally().token_requests.values().sum::<u64>();
    let conducted = async {
        eventually("a poll", async || polls() == 1).await;
        world.sandbox.faults().clear(postern::sandbox::FaultName::TokenRetryAfter);
        turn_clock(Duration::from_secs(20)).await;
        // Whoever asks this way would be heard by now.
        world.ops.mailbox(&alice()).await.unwrap();
        assert_eq!(polls(), 1, "Retry-After is not over yet");
        turn_clock(Duration::from_secs(11)).await;
    };
    let (connected, ()) =
        within("the sign-in", async { tokio::join!(desk.finish_by_device(sign_in), conducted) }).await;
    assert!(connected.unwrap().without.is_empty());
    assert_eq!(world.ops.mailbox(&alice()).await.unwrap().state, MailboxState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_without_consent_keeps_no_other_protocol_out() {
    let world = delegated("authorization_code").await;
    let token = || postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.fault("consent-missing=SMTP.Send");
    let connected = world.ops.connect_with_refresh_token(&alice(), token()).await.unwrap();
    let without: Vec<_> = connected.without.iter().map(|(protocol, _)| *protocol).collect();
    assert_eq!(without, [Protocol::Smtp]);
    let password = world.issue(ALICE).await;
    let served_without = [(Protocol::Smtp, false), (Protocol::Imap, true), (Protocol::Pop3, true)];
    assert_eq!(served(&world, &password).await, served_without);

    // Consent that comes later is found with the next sign-in, and that of the others that goes is no other's loss.
    world.sandbox.faults().clear_all();
    world.ops.connect_with_refresh_token(&alice(), token()).await.unwrap();
    eventually("the new sign-in to be used", async || served(&world, &password).await.iter().all(|(_, yes)| *yes))
        .await;

    world.fault("consent-missing=https://outlook.office.com");
    let error = world.ops.connect_with_refresh_token(&alice(), token()).await.unwrap_err();
    assert!(error.to_string().contains("AADSTS65001"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_ready_once_its_owner_has_signed_in_again_though_no_mail_program_came_yet() {
    let world = delegated("authorization_code").await;
    let token = || postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    let state = async || world.ops.mailbox(&alice()).await.unwrap();
    world.ops.connect_with_refresh_token(&alice(), token()).await.unwrap();
    let password = world.issue(ALICE).await;
    world.fault("token-error=50173");
    for _ in 0..2 {
        let told = world.imap(ALICE, &password).await.1;
        assert!(told.starts_with("in NO [CONTACTADMIN] "), "{told}");
        eventually("it to be noted", async || state().await.state == MailboxState::NeedsSignIn).await;
    }
    world.sandbox.faults().clear_all();
    world.ops.connect_with_refresh_token(&alice(), token()).await.unwrap();
    let row = state().await;
    assert_eq!((row.state, row.reason), (MailboxState::Ready, None));
}

/// Each would be a failing login at Exchange, which counts them.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_rejected_after_the_end_of_its_sign_in_is_not_presented_at_each_login() {
    let world = delegated("authorization_code").await;
    let token = || postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&alice(), token()).await.unwrap();
    let password = world.issue(ALICE).await;
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
    world.fault("token-error=50173");
    world.fault("imap-auth-reject");
    for time in ["first", "second", "third"] {
        let told = world.imap(ALICE, &password).await.1;
        assert!(told.starts_with("in NO [CONTACTADMIN] "), "{time}: {told}");
        assert_eq!(world.sandbox.tally().refused_logins.get(&Protocol::Imap), Some(&1), "{time}");
    }
    world.sandbox.faults().clear_all();
    world.ops.connect_with_refresh_token(&alice(), token()).await.unwrap();
    eventually("the new sign-in to serve", async || world.imap(ALICE, &password).await.1.starts_with("in OK ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_sign_in_that_cannot_be_stored_is_used_and_stored_later() {
    let mut world = delegated("authorization_code").await;
    // Whoever presents one twice loses the sign-in.
    world.fault("refresh-rotation=revoke-family");
    let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&alice(), token).await.unwrap();
    let password = world.issue(ALICE).await;
    let path = world.ops.data_dir().join(SqliteStore::FILE);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let store = SqliteStore::open(world.ops.data_dir()).await.unwrap();
    let sealed = async || store.sign_ins().await.unwrap().into_iter().find_map(|record| record.sealed).unwrap();
    let before = sealed().await;
    // Nobody else can write meanwhile.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (_imap, told) = world.imap(ALICE, &password).await;
    assert!(told.starts_with("in OK "), "{told}");
    assert!(sealed().await == before, "it could not be stored");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("it to be stored", async || sealed().await != before).await;
    world.stop_serving().await;
    world.serve().await;
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "), "after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_mailbox_sends_under_the_name_that_exchange_takes() {
    let shared: Mailbox = "shared@contoso.test".parse().unwrap();
    for (fault, logins) in [(None, 0), (Some("smtp-shared-refused"), 1)] {
        let world = delegated("authorization_code").await;
        if let Some(fault) = fault {
            world.fault(fault);
        }
        let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
        world.ops.connect_with_refresh_token(&alice(), token).await.unwrap();
        world.ops.remove_mailbox(&shared).await.unwrap();
        world.ops.add_mailbox(&shared, None, &[], Some(&alice())).await.unwrap();
        let password = world.issue(shared.as_str()).await;
        for turn in 0..3 {
            let mut smtp = world.smtp(shared.as_str(), &password).await;
            let told = smtp.smtp(&format!("MAIL FROM:<{shared}>")).await;
            assert!(told.starts_with("250 "), "{fault:?} {turn}: {told}");
        }
        // The session is Alice's then, and the app password is not.
        let mut smtp = world.smtp(shared.as_str(), &password).await;
        let told = smtp.smtp(&format!("MAIL FROM:<{ALICE}>")).await;
        assert_eq!(told.starts_with("550 5.7.60 "), fault.is_some(), "{fault:?}: {told}");
        let refused = world.sandbox.tally().refused_logins.get(&Protocol::Smtp).copied().unwrap_or(0);
        assert_eq!(refused, logins, "{fault:?}: what works is remembered");
        assert_eq!(world.ops.mailbox(&shared).await.unwrap().state, MailboxState::Ready);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_nobody_uses_is_kept_alive_weekly_and_no_oftener() {
    use postern::base::Clock;
    use postern::broker::Broker;
    use postern::foundation::{self, Foundation};

    let world = delegated("authorization_code").await;
    let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    world.ops.connect_with_refresh_token(&alice(), token).await.unwrap();
    let asked = || world.sandbox.tally().token_requests.values().sum::<u64>();
    let foundation = Foundation::open(&world.config).await.unwrap();
    let trust = foundation::trust(&world.config).unwrap();
    let clock = Clock::by_hand(chrono::Utc::now());
    let broker = std::sync::Arc::new(
        Broker::new(
            foundation::broker_tenants(&world.config, &trust, None),
            foundation.store,
            foundation.vault,
            clock.clone(),
        )
        .unwrap(),
    );
    let before = asked();
    broker.keep_alive().await.unwrap();
    clock.turn(chrono::Duration::days(6));
    broker.keep_alive().await.unwrap();
    assert_eq!(asked(), before, "it was used six days ago");
    clock.turn(chrono::Duration::days(2));
    broker.keep_alive().await.unwrap();
    assert_eq!(asked(), before + 1);
    broker.keep_alive().await.unwrap();
    assert_eq!(asked(), before + 1, "and that counts as a use");
    world.sandbox.revoke_sign_ins(ALICE);
    clock.turn(chrono::Duration::days(8));
    broker.keep_alive().await.unwrap();
    assert_eq!(world.ops.mailbox(&alice()).await.unwrap().state, MailboxState::NeedsSignIn, "what is dead is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_one_resource_has_used_up_is_kept_though_another_one_fails() {
    let edit =
        |text: String| text.replace("https://outlook.office.com/SMTP.Send", "https://outlook.office365.com/SMTP.Send");
    let world = World::planned(Plan { grant: "authorization_code", edit, ..Plan::default() }).await;
    world.fault("refresh-rotation=revoke-family");
    world.fault("token-delay=300");
    let token = postern::base::Secret::new(world.sandbox.refresh_token_for(ALICE));
    let alice = alice();
    let failing = async {
        // The first resource's request is under way; the next one meets this.
        eventually("a request", async || world.sandbox.tally().token_requests.values().sum::<u64>() == 1).await;
        world.fault("token-error=53003");
    };
    let (connected, ()) = tokio::join!(world.ops.connect_with_refresh_token(&alice, token), failing);
    let connected = connected.unwrap();
    assert!(!connected.without.is_empty() && connected.without.len() < 3, "{connected:?}");
    assert!(connected.without.iter().all(|(_, error)| error.to_string().contains("AADSTS53003")), "{connected:?}");
    world.sandbox.faults().clear_all();
    let password = world.issue(ALICE).await;
    assert!(served(&world, &password).await.iter().all(|(_, served)| *served), "what it was rotated into is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_in_for_a_shared_mailbox_may_be_named_in_its_place() {
    let world = delegated("authorization_code").await;
    let named = |text: &str| text.parse::<Mailbox>().unwrap();
    let (shared, helen) = (named("shared@contoso.test"), named("helen@contoso.test"));
    world.ops.add_mailbox(&shared, None, &[], Some(&helen)).await.unwrap();
    assert_eq!(world.ops.mailbox_to_sign_in(&helen).await.unwrap(), shared);
    assert_eq!(world.ops.mailbox_to_sign_in(&shared).await.unwrap(), shared);
    assert_eq!(world.ops.mailbox_to_sign_in(&alice()).await.unwrap(), alice(), "a mailbox of its own comes first");
    let error = world.ops.mailbox_to_sign_in(&named("nobody@contoso.test")).await.unwrap_err();
    assert_eq!(error.code(), "mailbox-not-listed");
}

/// A terminal by itself cuts a line at 4,096 octets.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_of_any_length_can_be_pasted_into_a_terminal() {
    use std::io::Write;
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt, BufReader};

    let world = delegated("authorization_code").await;
    world.fault("authorize-as=alice@contoso.test");
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    command.arg("--config").arg(world.config_file()).args(["mailbox", "connect", ALICE, "--no-browser", "--json"]);
    command.env_remove("POSTERN_CONFIG").kill_on_drop(true);
    let mut child = command.stdin(terminal.slave).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);

    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = within("the address to open", async {
        loop {
            let line = said.next_line().await.unwrap().unwrap();
            if line.starts_with("http://") {
                return line;
            }
        }
    })
    .await;
    let redirected = browse(&address.parse().unwrap()).await;
    let (before, query) = redirected.split_once('?').unwrap();
    let pasted = format!("{before}?padding={}&{query}\n", "A".repeat(9000));
    let mut pasting = std::fs::File::from(terminal.master);
    // What the terminal echoes is taken off it, as a person's does.
    let mut echoed = pasting.try_clone().unwrap();
    std::thread::spawn(move || drop(std::io::copy(&mut echoed, &mut std::io::sink())));
    // A terminal that takes no more would hold up the test.
    std::thread::spawn(move || drop(pasting.write_all(pasted.as_bytes())));
    let status = within("the sign-in", child.wait()).await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(world.ops.mailbox(&alice()).await.unwrap().state, MailboxState::Ready);
}
