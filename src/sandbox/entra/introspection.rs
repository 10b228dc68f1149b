//! Introspection (RFC 7662), for other servers that check these tokens.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;

use crate::sandbox::entra::{Fields, Service};
use crate::sandbox::tokens::Holder;

/// `GET, POST /introspect` (RFC 7662, section 2): the token as a form field, a query parameter, or a bearer header.
pub(super) async fn introspect(State(service): State<Service>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let named = |fields: Fields| fields.get("token").map(str::to_owned);
    let from_header = || Some(headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned());
    let token = named(Fields::of_form(&headers, &body)).or_else(|| named(Fields::of_query(&uri))).or_else(from_header);
    let token = token.unwrap_or_default();
    let Some(claims) = service.tenant.tokens.claims(&token).filter(|claims| claims.expires > Instant::now()) else {
        return Json(json!({ "active": false })).into_response();
    };
    let mut body = json!({
        "active": true,
        "token_type": "Bearer",
        "client_id": claims.client_id,
        "scope": claims.permissions.join(" "),
        "exp": claims.expires_unix,
    });
    if let Holder::User(address) = claims.holder {
        body["username"] = json!(address);
        body["email"] = json!(address);
    }
    Json(body).into_response()
}
