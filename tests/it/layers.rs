//! Who may use whom: the table of `docs/ARCHITECTURE.md`, held by reading `src`.
//!
//! Every `crate::x` in a file of the module `y` must be allowed here, and what only one stage may touch (SQL, the OAuth client,
//! the server side of TLS, and for the grammar of the languages every way to the outside) must not be named elsewhere. Test code
//! may use what it likes: modules under `#[cfg(test)]`, and files named `tests.rs`, `*_tests.rs` or lying in a folder `tests`.

use std::path::Path;

/// A module, and what it may use beside itself.
const TABLE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("config", &["base"]),
    ("wire", &["base"]),
    ("store", &["base"]),
    ("telemetry", &["base", "store"]),
    ("listener", &["base"]),
    ("front", &["base", "wire"]),
    ("auth", &["base", "wire", "store", "telemetry"]),
    ("broker", &["base", "auth", "store", "telemetry"]),
    ("upstream", &["base", "wire", "auth", "broker"]),
    ("relay", &["base", "wire", "upstream", "telemetry"]),
    ("delivery", &["base", "wire", "auth", "broker", "upstream", "store", "telemetry"]),
    ("session", &["base", "wire", "listener", "front", "auth", "broker", "upstream", "relay", "delivery", "telemetry"]),
    // What the running proxy and the administrator's commands both stand on, so that neither builds it in a way of its own.
    ("foundation", &["base", "config", "auth", "broker", "upstream", "store", "telemetry"]),
    (
        "app",
        &[
            "base",
            "config",
            "wire",
            "listener",
            "front",
            "auth",
            "broker",
            "upstream",
            "relay",
            "delivery",
            "session",
            "foundation",
            "store",
            "telemetry",
            // It serves the console: `admin::ops` and `admin::web` alone, see `ONLY_PART`.
            "admin",
        ],
    ),
    // What parts of it may not use although the command line may stands in `PARTS_MAY_NOT`.
    (
        "admin",
        &[
            "base",
            "config",
            "store",
            "auth",
            "broker",
            "upstream",
            "delivery",
            "telemetry",
            "foundation",
            "app",
            "sandbox",
            // `postern certificate` shows what the listeners serve with: `listener::certificate` alone, see `ONLY_PART`.
            "listener",
        ],
    ),
    ("sandbox", &["base", "wire"]),
];

/// `admin::ops` serves every front end of administration, so it may not know of one, nor of what they start; the front ends do not know of
/// each other. A part of `admin`, what it may use of the others, and what it may not use of the rest.
const PARTS_MAY_NOT: &[(&str, &[&str], &[&str])] = &[
    ("ops", &["ops"], &["app", "sandbox", "listener"]),
    ("tables", &["ops", "tables"], &["app", "sandbox", "listener"]),
    ("web", &["ops", "tables", "web"], &["app", "sandbox", "listener"]),
    ("cli", &["ops", "tables", "cli"], &[]),
];

/// Where a module may use only parts of another.
const ONLY_PART: &[(&str, &str, &[&str])] =
    &[("admin", "listener", &["certificate"]), ("app", "admin", &["ops", "web"])];

/// Words that only these modules may say.
const RESERVED: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("oauth2", &["broker"]),
    ("rustls::server", &["listener", "sandbox"]),
    ("tokio_rustls::server", &["listener", "sandbox"]),
    ("rustls::ServerConfig", &["listener", "sandbox"]),
    ("rustls::ServerConnection", &["listener", "sandbox"]),
    ("TlsAcceptor", &["listener", "sandbox"]),
];

/// Words that these modules may never say: what parses an attacker's octets reaches no socket, no clock, no file and no task.
const FORBIDDEN: &[(&[&str], &[&str])] = &[
    (
        &["wire", "front"],
        &[
            "tokio",
            "tokio_util",
            "std::net",
            "std::fs",
            "std::env",
            "std::process",
            "std::thread",
            "Instant",
            "SystemTime",
            "Utc::now",
            "Local::now",
            "crate::base::Clock",
            "crate::base::clock",
            "crate::base::files",
        ],
    ),
    (&["auth"], &["TcpStream", "TcpListener", "UdpSocket", "TcpSocket"]),
];

#[test]
fn every_module_uses_only_what_the_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 50, "only {} files were found", files.len());
    let mut crossed = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(root.join("src")).unwrap().to_str().unwrap().replace('\\', "/");
        crossed.extend(borders_crossed(&name, &text));
    }
    assert!(crossed.is_empty(), "{} borders are crossed:\n{}", crossed.len(), crossed.join("\n"));
}

#[test]
fn every_folder_of_the_tree_stands_in_the_table() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(source).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        let known = matches!(module, "lib" | "main") || TABLE.iter().any(|(known, _)| *known == module);
        assert!(known, "`{module}` may use nothing and be used by nobody until the table says so");
    }
}

#[test]
fn a_border_that_is_crossed_is_named_with_its_file_and_line() {
    for (file, text, expected) in [
        ("wire/imap.rs", "use crate::base::Secret;\nuse crate::wire::line::Line;", &[][..]),
        ("wire/imap.rs", "\nuse crate::auth::Permit;", &["src/wire/imap.rs:2: `wire` may not use `auth`"]),
        (
            "wire/imap.rs",
            "use crate::{base::Secret, store::{A, B}};",
            &["src/wire/imap.rs:1: `wire` may not use `store`"],
        ),
        (
            "wire/imap.rs",
            "use crate::{\n base::{A, B},\n broker,\n};",
            &["src/wire/imap.rs:1: `wire` may not use `broker`"],
        ),
        (
            "front/mod.rs",
            "fn f() { let _ = crate::broker::Broker::new(); }",
            &["src/front/mod.rs:1: `front` may not use `broker`"],
        ),
        ("front/pop3.rs", "use tokio::time::sleep;", &["src/front/pop3.rs:1: `front` may not say `tokio`"]),
        (
            "front/pop3.rs",
            "use std::{fs, net::IpAddr};",
            &[
                "src/front/pop3.rs:1: `front` may not say `std::fs`",
                "src/front/pop3.rs:1: `front` may not say `std::net`",
            ],
        ),
        ("wire/line.rs", "let now = std::time::Instant::now();", &["src/wire/line.rs:1: `wire` may not say `Instant`"]),
        (
            "wire/line.rs",
            "use std::time::{Duration, SystemTime};",
            &["src/wire/line.rs:1: `wire` may not say `SystemTime`"],
        ),
        (
            "front/imap.rs",
            "use crate::base::{Answer, Clock};",
            &["src/front/imap.rs:1: `front` may not say `crate::base::Clock`"],
        ),
        ("auth/mod.rs", "use sqlx::Row;", &["src/auth/mod.rs:1: `auth` may not say `sqlx`"]),
        ("auth/mod.rs", "use tokio::net::TcpStream;", &["src/auth/mod.rs:1: `auth` may not say `TcpStream`"]),
        ("upstream/mod.rs", "use oauth2::Scope;", &["src/upstream/mod.rs:1: `upstream` may not say `oauth2`"]),
        ("session.rs", "use tokio_rustls::TlsAcceptor;", &["src/session.rs:1: `session` may not say `TlsAcceptor`"]),
        ("app.rs", "use rustls::server::ServerConfig;", &["src/app.rs:1: `app` may not say `rustls::server`"]),
        ("app.rs", "use crate::sandbox::Sandbox;", &["src/app.rs:1: `app` may not use `sandbox`"]),
        ("session/mail.rs", "use crate::store::Store;", &["src/session/mail.rs:1: `session` may not use `store`"]),
        ("admin/ops.rs", "use crate::app::App;", &["src/admin/ops.rs:1: `admin::ops` may not use `app`"]),
        (
            "admin/ops/status.rs",
            "use crate::admin::cli::x;",
            &["src/admin/ops/status.rs:1: `admin::ops` may not use `admin::cli`"],
        ),
        ("admin/cli/serve.rs", "use crate::app::App;\nuse crate::listener::certificate;", &[]),
        (
            "admin/cli/status.rs",
            "use crate::admin::web::Console;",
            &["src/admin/cli/status.rs:1: `admin::cli` may not use `admin::web`"],
        ),
        (
            "admin/web/mod.rs",
            "use crate::admin::cli::x;\nuse crate::app::App;\nuse crate::admin::tables;",
            &[
                "src/admin/web/mod.rs:1: `admin::web` may not use `admin::cli`",
                "src/admin/web/mod.rs:2: `admin::web` may not use `app`",
            ],
        ),
        (
            "admin/tables/queue.rs",
            "use crate::admin::web::Console;",
            &["src/admin/tables/queue.rs:1: `admin::tables` may not use `admin::web`"],
        ),
        ("app.rs", "use crate::admin::web::Console;\nuse crate::admin::ops::Ops;", &[]),
        ("app.rs", "use crate::admin::cli::main;", &["src/app.rs:1: `app` may use only `ops`, `web` of `admin`"]),
        (
            "admin/cli/serve.rs",
            "use crate::listener::Listener;",
            &["src/admin/cli/serve.rs:1: `admin` may use only `certificate` of `listener`"],
        ),
        (
            "sandbox/imap/mod.rs",
            "use crate::upstream::Upstream;",
            &["src/sandbox/imap/mod.rs:1: `sandbox` may not use `upstream`"],
        ),
        ("session.rs", "use super::store::Store;", &["src/session.rs:1: `super::` leads out of `session`"]),
        (
            "broker/entra.rs",
            "use super::super::front::Front;",
            &["src/broker/entra.rs:1: `super::super` is not written, name the module from `crate`"],
        ),
        ("main.rs", "fn main() { postern::app::run() }", &["src/main.rs:1: `main` may not use `postern::app`"]),
        ("main.rs", "fn main() { postern::admin::cli::main() }", &[]),
        ("lib.rs", "pub mod base;\npub use base::Secret;", &["src/lib.rs:2: `lib.rs` holds nothing but the modules"]),
        // What is not code, and what is only there for tests, crosses nothing.
        (
            "wire/imap.rs",
            "// crate::auth\n/* crate::auth\n /* tokio */ crate::broker */\n/// [`crate::auth::Permit`]",
            &[],
        ),
        (
            "wire/imap.rs",
            "const A: &str = \"crate::auth \\\" tokio\"; const B: &str = r#\"crate::auth\"#; const C: char = '\"'; const D: u8 = b'\\'';",
            &[],
        ),
        (
            "wire/imap.rs",
            "#[cfg(test)]\nmod tests {\n fn f() { { crate::auth::x(); } }\n}\nuse crate::store::A;",
            &["src/wire/imap.rs:5: `wire` may not use `store`"],
        ),
        ("wire/tests.rs", "use crate::auth::Permit;", &[]),
        ("wire/smtp/data_tests.rs", "use crate::auth::Permit;", &[]),
        ("sandbox/tests/all.rs", "use crate::auth::Permit;", &[]),
        // A life time is no character, and an identifier that ends alike is another one.
        ("wire/imap.rs", "fn f<'a>(x: &'a str) { my_tokio(); xoauth2(x); mycrate::auth::x() }", &[]),
    ] {
        assert_eq!(borders_crossed(file, text), expected, "{file}: {text}");
    }
}

/// The borders that a file crosses; `name` is its path below `src`.
fn borders_crossed(name: &str, text: &str) -> Vec<String> {
    let file = name.rsplit('/').next().unwrap();
    if file == "tests.rs"
        || file.ends_with("_tests.rs")
        || name.split('/').rev().skip(1).any(|folder| folder == "tests")
    {
        return Vec::new();
    }
    let code = without_tests(&code_only(text));
    let mut crossed = Vec::new();
    let mut cross = |at: usize, what: String| {
        let line = code[..at].matches('\n').count() + 1;
        let line = format!("src/{name}:{line}: {what}");
        if !crossed.contains(&line) {
            crossed.push(line);
        }
    };
    let module = name.split('/').next().unwrap().trim_end_matches(".rs");
    match module {
        "main" => {
            for (at, path) in paths(&code) {
                if path.starts_with("postern::") && !path.starts_with("postern::admin::cli::") {
                    let used = path.split("::").take(2).collect::<Vec<_>>().join("::");
                    cross(at, format!("`main` may not use `{used}`"));
                }
            }
            if text.lines().count() >= 40 {
                cross(0, "`main` is longer than 40 lines".to_owned());
            }
            return crossed;
        }
        "lib" => {
            let mut at = 0;
            for line in code.split_inclusive('\n') {
                let bare = line.trim();
                if !(bare.is_empty() || bare.starts_with("pub mod ") && bare.ends_with(';')) {
                    cross(at, "`lib.rs` holds nothing but the modules".to_owned());
                }
                at += line.len();
            }
            return crossed;
        }
        _ => {}
    }
    let allowed = TABLE.iter().find(|(known, _)| *known == module).map_or(&[][..], |(_, allowed)| *allowed);
    let part_of_admin = name.strip_prefix("admin/").and_then(|rest| rest.split('/').next());
    let part_of_admin = part_of_admin.map(|part| part.trim_end_matches(".rs"));
    let limits = PARTS_MAY_NOT.iter().find(|(part, ..)| part_of_admin == Some(*part));
    let is_root = name == format!("{module}.rs") || name == format!("{module}/mod.rs");
    for (at, path) in paths(&code) {
        let mut parts = path.split("::");
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("super", Some("super")) => {
                cross(at, "`super::super` is not written, name the module from `crate`".to_owned());
            }
            ("super", Some(_)) if is_root => cross(at, format!("`super::` leads out of `{module}`")),
            ("crate", Some(used)) => {
                let part = parts.next().unwrap_or_default();
                let only =
                    ONLY_PART.iter().find(|(user, of, _)| *user == module && *of == used).map(|(_, _, parts)| *parts);
                if let Some((own, ..)) =
                    limits.filter(|(_, may, _)| used == "admin" && !part.is_empty() && !may.contains(&part))
                {
                    cross(at, format!("`admin::{own}` may not use `admin::{part}`"));
                } else if let Some((own, ..)) = limits.filter(|(_, _, not)| not.contains(&used)) {
                    cross(at, format!("`admin::{own}` may not use `{used}`"));
                } else if used != module && !allowed.contains(&used) {
                    cross(at, format!("`{module}` may not use `{used}`"));
                } else if let Some(only) = only.filter(|only| !only.contains(&part)) {
                    cross(at, format!("`{module}` may use only `{}` of `{used}`", only.join("`, `")));
                }
            }
            _ => {}
        }
        let reserved = RESERVED.iter().filter(|(_, who)| !who.contains(&module)).map(|(word, _)| *word);
        let forbidden =
            FORBIDDEN.iter().filter(|(who, _)| who.contains(&module)).flat_map(|(_, words)| words.iter().copied());
        for word in reserved.chain(forbidden) {
            if says(&path, word) {
                cross(at, format!("`{module}` may not say `{word}`"));
                break;
            }
        }
    }
    crossed
}

/// Whether a path holds these segments one behind the other.
fn says(path: &str, word: &str) -> bool {
    format!("::{path}::").contains(&format!("::{word}::"))
}

/// All paths of the code with the place where each begins, those in the braces of a `use` each in full.
fn paths(code: &str) -> Vec<(usize, String)> {
    let bytes = code.as_bytes();
    let is_word = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
    let mut found = Vec::new();
    let mut place = 0;
    while place < bytes.len() {
        if !is_word(bytes[place]) {
            place += 1;
            continue;
        }
        let start = place;
        place = path(code, start, start, "", &mut found);
    }
    found
}

/// Reads one path that begins at `place`; gives where it ends.
fn path(code: &str, start: usize, mut place: usize, before: &str, found: &mut Vec<(usize, String)>) -> usize {
    let bytes = code.as_bytes();
    let is_word = |at: usize| bytes.get(at).is_some_and(|octet| octet.is_ascii_alphanumeric() || *octet == b'_');
    let mut whole = before.to_owned();
    loop {
        let from = place;
        while is_word(place) {
            place += 1;
        }
        whole.push_str(&code[from..place]);
        if !code[place..].starts_with("::") {
            break;
        }
        place += 2;
        if code[place..].starts_with('{') {
            whole.push_str("::");
            place += 1;
            while place < bytes.len() && bytes[place] != b'}' {
                if is_word(place) {
                    place = path(code, start, place, &whole, found);
                } else {
                    place += 1;
                }
            }
            return place + 1;
        }
        if !is_word(place) {
            break;
        }
        whole.push_str("::");
    }
    found.push((start, whole));
    place
}

/// The text with comments and the insides of literals blanked; lines stay where they are.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = vec![b' '; bytes.len()];
    for (at, octet) in bytes.iter().enumerate() {
        if *octet == b'\n' {
            out[at] = b'\n';
        }
    }
    let mut place = 0;
    while place < bytes.len() {
        let rest = &bytes[place..];
        let after_word = place > 0 && (bytes[place - 1].is_ascii_alphanumeric() || bytes[place - 1] == b'_');
        let hashes = rest.iter().skip(1).take_while(|octet| **octet == b'#').count();
        if rest.starts_with(b"//") {
            place += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            let mut depth = 0;
            while place < bytes.len() {
                match &bytes[place..] {
                    [b'/', b'*', ..] => (depth, place) = (depth + 1, place + 2),
                    [b'*', b'/', ..] => (depth, place) = (depth - 1, place + 2),
                    _ => place += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if rest[0] == b'r' && rest.get(1 + hashes) == Some(&b'"') && (!after_word || bytes[place - 1] == b'b') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inside = 2 + hashes;
            let length = memchr::memmem::find(&rest[inside..], end.as_bytes()).unwrap_or(rest.len() - inside);
            place += inside + length + end.len();
        } else if rest[0] == b'"' {
            place += 1;
            while place < bytes.len() && bytes[place] != b'"' {
                place += if bytes[place] == b'\\' { 2 } else { 1 };
            }
            place += 1;
        } else if rest[0] == b'\'' {
            // A character or a life time.
            match rest {
                [_, b'\\', ..] => place += 3 + memchr::memchr(b'\'', &rest[3..]).unwrap_or(0) + 1,
                _ => {
                    let width = text[place + 1..].chars().next().map_or(1, char::len_utf8);
                    place += if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 1 };
                }
            }
        } else {
            out[place] = rest[0];
            place += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The code with everything under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(from) = out.find("#[cfg(test)]") {
        let mut depth = 0;
        let mut end = out.len();
        for (at, octet) in out.bytes().enumerate().skip(from) {
            match octet {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b';' => {}
                _ => continue,
            }
            if depth == 0 {
                end = at + 1;
                break;
            }
        }
        let blank: String = out[from..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(from..end, &blank);
    }
    out
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
