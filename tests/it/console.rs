//! The console: who gets in, what is shown, and what a page in somebody's browser cannot do.

use std::time::Duration;

use postern::admin::ops::Rotate;
use postern::base::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{World, within};

const ALICE: &str = "alice@contoso.test";

/// An answer of the console.
struct Answer {
    status: u16,
    /// With names in lower case.
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix))
    }
}

/// Sends octets as they are, and reads until the end.
async fn raw(world: &World, request: &str) -> Answer {
    let mut stream = TcpStream::connect(world.console.unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let head = head.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_owned(),
    });
    Answer { status, head: head.collect::<Vec<_>>().join("\n"), body: body.to_owned() }
}

async fn get_with(world: &World, path: &str, more: &str) -> Answer {
    let host = world.console.unwrap();
    raw(world, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")).await
}

async fn post(world: &World, path: &str, more: &str, body: &str) -> Answer {
    let host = world.console.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{more}\r\n{body}"
    );
    raw(world, &request).await
}

/// A browser that is signed in.
struct Browser<'w> {
    world: &'w World,
    place: String,
    cookie: String,
}

impl<'w> Browser<'w> {
    /// The form that the link leads to.
    async fn form(world: &World) -> String {
        let link = world.ops.make_console_link(world.ops.console_address().unwrap()).await.unwrap();
        let path = link.url.expose().strip_prefix(&format!("http://{}", world.console.unwrap())).unwrap().to_owned();
        let page = get_with(world, &path, "").await;
        assert_eq!(page.status, 200, "{}", page.head);
        let token = path.strip_prefix("/sign-in?link=").unwrap();
        assert!(page.body.contains(&format!("value=\"{token}\"")), "{}", page.body);
        format!("link={token}")
    }

    fn origin(world: &World) -> String {
        format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", world.console.unwrap())
    }

    async fn signed_in(world: &'w World) -> Self {
        let form = Self::form(world).await;
        let answer = post(world, "/sign-in", &Self::origin(world), &form).await;
        assert_eq!(answer.status, 303, "{}\n{}", answer.head, answer.body);
        let place = answer.header("location").unwrap().to_owned();
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.ends_with(&format!("; Path={place}; HttpOnly; SameSite=Strict")), "{cookie}");
        Self { world, place, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    async fn get(&self, page: &str) -> Answer {
        get_with(self.world, &format!("{}{page}", self.place), &format!("Cookie: a=b; {}\r\n", self.cookie)).await
    }
}

const PAGES: [&str; 8] = ["", "passwords", "mailboxes", "queue", "sent", "audit", "bans", "explain"];

#[tokio::test(flavor = "multi_thread")]
async fn a_link_lets_one_browser_in_once_and_nobody_else() {
    let world = World::start().await;
    assert!(get_with(&world, "/", "").await.body.contains("postern console"));
    for link in ["", "link=", "link=x", "other=x"] {
        let answer = post(&world, "/sign-in", &Browser::origin(&world), link).await;
        assert_eq!(answer.status, 403, "{link}: {}", answer.body);
        assert_eq!(answer.header("set-cookie"), None);
    }
    let form = Browser::form(&world).await;
    // Looking at the link uses nothing up.
    for _ in 0..3 {
        assert_eq!(get_with(&world, &format!("/sign-in?{form}"), "").await.status, 200);
    }
    let (one, other) = tokio::join!(
        post(&world, "/sign-in", "Origin: http://127.0.0.1:1\r\n", &form),
        post(&world, "/sign-in", "", &form)
    );
    assert_eq!((one.status, other.status), (403, 403), "not from elsewhere, and it is good still");
    let origin = Browser::origin(&world);
    let (one, other) = tokio::join!(post(&world, "/sign-in", &origin, &form), post(&world, "/sign-in", &origin, &form));
    let mut both = [one.status, other.status];
    both.sort_unstable();
    assert_eq!(both, [303, 403], "the first of two");

    let browser = Browser::signed_in(&world).await;
    let second = Browser::signed_in(&world).await;
    for page in PAGES {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        let path = format!("{}{page}", browser.place);
        assert_eq!(get_with(&world, &path, "").await.status, 401, "{page} without the cookie");
        let of_another = format!("Cookie: {}\r\n", second.cookie);
        let refused = get_with(&world, &path, &of_another).await;
        assert_eq!(refused.status, 401, "{page} with another's cookie");
        assert!(!refused.body.contains("contoso"), "{}", refused.body);
    }
    // Out, and not in any more.
    let path = format!("{}sign-out", browser.place);
    let cookie = format!("Cookie: {}\r\n", browser.cookie);
    assert_eq!(post(&world, &path, &cookie, "").await.status, 403, "not from elsewhere");
    assert_eq!(get_with(&world, &path, &cookie).await.status, 405, "looking at it changes nothing");
    assert_eq!(browser.get("").await.status, 200);
    assert_eq!(post(&world, &path, &format!("{origin}{cookie}"), "").await.status, 303);
    assert_eq!(browser.get("").await.status, 401);
    assert_eq!(second.get("").await.status, 200);

    // Whoever has the port while nobody serves may catch a link.
    let caught = Browser::form(&world).await;
    let mut world = world;
    world.stop_serving().await;
    world.serve().await;
    assert_eq!(post(&world, "/sign-in", &Browser::origin(&world), &caught).await.status, 403);

    let acts = world.ops.audit(&postern::store::AuditFilter::default(), 50).await.unwrap();
    let acts: Vec<&str> = acts.iter().map(|record| record.entry.details.as_str()).collect();
    let of = |act: &str| acts.iter().filter(|details| details.contains(act)).count();
    assert_eq!((of("\"console link made\""), of("\"console sign-in\"")), (4, 3), "{acts:#?}");
    assert!(acts.iter().any(|details| details.contains("console sign-in") && details.contains("127.0.0.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_page_and_no_other_name_gets_anything() {
    let world = World::start().await;
    let browser = Browser::signed_in(&world).await;
    let port = world.console.unwrap().port();
    for path in ["/", "/sign-in?link=x", "/style.css", "/nothing", &browser.place] {
        for host in ["evil.example".to_owned(), format!("127.0.0.1.evil.example:{port}"), format!("0.0.0.0:{port}")] {
            let cookie = &browser.cookie;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
            let answer = raw(&world, &request).await;
            assert_eq!(answer.status, 421, "{host} {path}");
        }
        let answer = get_with(&world, path, "Origin: http://evil.example\r\n").await;
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
    }
    // A tunnel has another port.
    let request = "GET / HTTP/1.1\r\nHost: localhost:9\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&world, request).await.status, 200);
    // More than a form of ours has is not read.
    let answer = post(&world, "/sign-in", &Browser::origin(&world), &format!("link={}", "x".repeat(20_000))).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_soon_stands_in_front_and_what_others_wrote_is_text() {
    let world = World::start().await;
    const HOSTILE: &str = "<script>alert(1)</script>'\"&";
    let now = chrono::Utc::now();
    let mut issued = Vec::new();
    for days in [29, 90] {
        let password = world
            .issue_with(ALICE, |request| {
                request.label = HOSTILE.to_owned();
                request.owner = Some(HOSTILE.to_owned());
                request.expires_at = Some(now + chrono::Duration::days(days));
            })
            .await;
        issued.push(password);
    }
    let browser = Browser::signed_in(&world).await;
    let overview = browser.get("").await;
    assert!(overview.body.contains("None ends within 30 days"), "it was to live no longer: {}", overview.body);
    assert!(overview.body.contains("All is well"), "{}", overview.body);
    world.aged("UPDATE app_password SET created_at = created_at - 5184000000").await;
    let overview = browser.get("").await;
    let id = &issued[0].row.id;
    for part in [
        format!("href=\"{}passwords/{id}\"", browser.place),
        "postern password rotate ID --overlap 7d".to_owned(),
        "&lt;script&gt;alert(1)&lt;/script&gt;".to_owned(),
        "28 days".to_owned(),
    ] {
        assert!(overview.body.contains(&part), "{part}: {}", overview.body);
    }
    assert!(!overview.body.contains(&issued[1].row.id) && !overview.body.contains("All is well"), "{}", overview.body);
    for page in ["", "passwords", "audit", "mailboxes", &format!("passwords/{id}"), &format!("mailboxes/{ALICE}")] {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, 200, "{page}");
        assert!(!answer.body.contains("<script") && !answer.body.contains("'\"&"), "{page}: {}", answer.body);
    }
    let one = browser.get(&format!("passwords/{id}")).await.body;
    assert!(one.contains("It ends within 30 days, and nothing is there in its place"), "{one}");
    assert!(one.contains(&format!("postern password rotate {id} --overlap 7d")), "{one}");
    // With another one in its place nobody has to be told any more.
    let how = Rotate {
        overlap: chrono::Duration::days(40),
        ends_unused: None,
        expires_at: Some(now + chrono::Duration::days(400)),
        short: false,
    };
    world.ops.rotate_password(id, &how).await.unwrap();
    let overview = browser.get("").await;
    assert!(overview.body.contains("None ends within 30 days"), "{}", overview.body);

    let unknown = browser.get("passwords/unknown").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("postern password list") && unknown.body.contains("Sign out"), "{}", unknown.body);
    assert_eq!(browser.get("queue/unknown").await.status, 404);
    assert_eq!(browser.get("nothing").await.status, 404);
    let none = browser.get("passwords?text=nobody%20has%20this").await;
    assert!(none.body.contains("There is none"), "{}", none.body);
    let found = browser.get("passwords?show=all&text=SCRIPT&page=99").await;
    assert!(found.body.contains(id.as_str()), "{}", found.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_a_mail_program_was_given_is_explained() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    world.fault("imap-auth-reject");
    let (_imap, told) = world.imap(ALICE, &password).await;
    let reference = told.split("ref ").nth(1).unwrap_or_else(|| panic!("{told}"))[..6].to_owned();
    let browser = Browser::signed_in(&world).await;
    // It gets into the store within a second.
    let mut answer = browser.get(&format!("explain?text={reference}")).await;
    for _ in 0..100 {
        if answer.body.contains("what happened") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = browser.get(&format!("explain?text={reference}")).await;
    }
    assert!(answer.body.contains(ALICE) && answer.body.contains("What to do"), "{}", answer.body);
    let number = browser.get("explain?text=AADSTS7000222").await;
    assert!(number.body.contains("client secret"), "{}", number.body);
    let unknown = browser.get("explain?text=%3Cb%3Ehello").await;
    assert!(unknown.body.contains("nothing in this text is known"), "{}", unknown.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_many_and_says_nothing_keeps_no_mail_program_out() {
    let world = World::start().await;
    let password = world.issue(ALICE).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(world.console.unwrap()).await.unwrap());
    }
    assert!(world.imap(ALICE, &password).await.1.starts_with("in OK "));
    let mut pop3 = world.connect(Protocol::Pop3, "none").await;
    assert!(pop3.line().await.starts_with("+OK "));
    // Nor for long from the console: whoever says nothing has to go.
    let page = within("the console", get_with(&world, "/", "")).await;
    assert_eq!(page.status, 200);
    drop(silent);
}
