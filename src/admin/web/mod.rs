//! The console: what `postern status`, `password list`, `queue list`, `audit list` and `explain` show, in a browser on this machine. It shows
//! and changes nothing; what is to be done stands there as the command that does it.
//!
//! * `GET /` -- how to sign in
//! * `GET /sign-in?link=…` -- a button, so that nothing that only looks at links uses one up
//! * `POST /sign-in` -- lets the browser in, once for each link of `postern console`
//! * `GET /s/PLACE/` -- whether all is well, and which app passwords end soon
//! * `GET /s/PLACE/passwords`, `/passwords/ID`, `/mailboxes`, `/mailboxes/ADDRESS`, `/queue`, `/queue/ID`, `/sent`, `/audit`, `/bans`,
//!   `/explain?text=…`
//! * `POST /s/PLACE/sign-out`
//! * `GET /style.css`

mod door;
mod error;
mod guard;
mod markup;
mod pages;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::connect_info::Connected;
use axum::http::header;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admin::ops::Ops;
use crate::admin::web::door::Door;
use crate::admin::web::sessions::Sessions;
use crate::base::Clock;

/// The most octets that a form may have.
const MOST_OF_FORM: usize = 16 * 1024;

/// What the pages are made from.
#[derive(Clone)]
pub struct Console(Arc<Parts>);

struct Parts {
    ops: Ops,
    sessions: Sessions,
}

/// Who looks, and where.
#[derive(Clone)]
struct Visitor {
    /// The place of this browser: every page of it is below `/s/PLACE/`.
    place: String,
    /// Who made the link.
    who: String,
}

/// Where a request came from.
#[derive(Clone, Copy)]
struct Caller(SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Console {
    /// One that shows what these acts see.
    pub fn new(ops: Ops) -> Self {
        Self(Arc::new(Parts { ops, sessions: Sessions::new(Clock::system()) }))
    }

    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let service = self.router().into_make_service_with_connect_info::<Caller>();
        let served = axum::serve(Door::new(listener), service)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        if let Err(error) = served {
            warn!("the listener of [console] has ended: {error}");
        }
    }

    fn router(self) -> Router {
        let signed_in = Router::new()
            .route("/", get(pages::overview::show))
            .route("/passwords", get(pages::passwords::list))
            .route("/passwords/{id}", get(pages::passwords::show))
            .route("/mailboxes", get(pages::mailboxes::list))
            .route("/mailboxes/{address}", get(pages::mailboxes::show))
            .route("/queue", get(pages::queue::list))
            .route("/queue/{id}", get(pages::queue::show))
            .route("/sent", get(pages::queue::sent))
            .route("/audit", get(pages::audit::list))
            .route("/bans", get(pages::audit::bans))
            .route("/explain", get(pages::explain::show))
            .route("/sign-out", post(pages::sign_in::sign_out))
            .route_layer(from_fn_with_state(self.clone(), pages::sign_in::is_signed_in));
        Router::new()
            .route("/", get(pages::sign_in::front))
            .route("/sign-in", get(pages::sign_in::offer).post(pages::sign_in::sign_in))
            .route("/style.css", get(style))
            // With the `/` at its end: the first page is `/s/PLACE/`, as the cookie is for what is below that.
            .nest("/s/{place}/", signed_in)
            .fallback(pages::sign_in::not_found)
            .layer(DefaultBodyLimit::max(MOST_OF_FORM))
            .layer(from_fn(guard::guard))
            .with_state(self)
    }
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}
