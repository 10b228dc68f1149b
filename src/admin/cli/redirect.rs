//! Where a browser is sent back to after a sign-in: a port of this machine that hears one answer (RFC 8252, section 7.3).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::base::Secret;
use crate::broker::{BrowserSignIn, Redirected};

/// What a browser shows when it has brought the answer.
const ARRIVED: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Postern</title></head>\
    <body><h1>Postern has the answer</h1><p>You can close this window; the rest is told where the command was \
    started.</p></body></html>\n";

/// What anything else is shown.
const STRAY: &str = "This address waits for the answer to one sign-in, and this is not it.\n";

/// A port that is open for the answer.
pub(super) struct Receiver {
    listeners: Vec<TcpListener>,
    port: u16,
}

#[derive(Clone)]
struct Desk {
    sign_in: Arc<BrowserSignIn>,
    answers: mpsc::Sender<Secret<String>>,
}

impl Receiver {
    /// Opens a port on loopback, 0 being a free one. Browsers take `localhost` for either family, so both are listened on where there
    /// are both.
    pub(super) fn open(port: u16) -> io::Result<Self> {
        let first = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let port = first.local_addr()?.port();
        let second = bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).ok();
        Ok(Self { listeners: std::iter::once(first).chain(second).collect(), port })
    }

    /// The redirect address. Entra ID takes any port with a registered `http://localhost`, but no other path than the registered one.
    pub(super) fn address(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Waits for the answer to this sign-in. Whatever else asks is turned away and changes nothing.
    pub(super) async fn answer(self, sign_in: Arc<BrowserSignIn>) -> Secret<String> {
        let (sender, mut answers) = mpsc::channel(1);
        let router = Router::new().fallback(hear).with_state(Desk { sign_in, answers: sender });
        let mut servers = JoinSet::new();
        for listener in self.listeners {
            let router = router.clone();
            servers.spawn(async move { drop(axum::serve(listener, router).await) });
        }
        drop(router);
        match answers.recv().await {
            Some(answer) => {
                // The browser still reads its page.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                answer
            }
            // The servers hold the other end and do not end by themselves.
            None => std::future::pending().await,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn hear(State(desk): State<Desk>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    // A page elsewhere that has a browser ask here under another name is not the token service.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let local = ["localhost:", "127.0.0.1:", "[::1]:"].iter().any(|name| host.starts_with(name));
    let judged = if method == Method::GET && local { desk.sign_in.judge(&uri.to_string()) } else { Redirected::Stray };
    match judged {
        Redirected::Answer(answer) => {
            // A second answer of the same browser finds the place taken.
            drop(desk.answers.try_send(answer));
            page(StatusCode::OK, "text/html; charset=utf-8", ARRIVED)
        }
        Redirected::Stray => page(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", STRAY),
    }
}

fn page(status: StatusCode, kind: &'static str, text: &'static str) -> Response {
    let mut response = (status, text).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONNECTION, "close"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
