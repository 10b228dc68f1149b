//! What goes wrong behind a page, told on one.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::html;
use tracing::warn;

use crate::admin::ops::{ExplainError, OpsError};
use crate::admin::web::Visitor;
use crate::admin::web::markup::{page, words};
use crate::base::Fault;

/// A page that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(in crate::admin::web) enum WebError {
    /// What was looked for cannot be found, or read.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// An act failed.
    #[error(transparent)]
    Ops(#[from] OpsError),
}

impl WebError {
    fn fault(&self) -> &dyn Fault {
        match self {
            Self::Explain(error) => error,
            Self::Ops(error) => error,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Explain(ExplainError::NothingKnown { .. } | ExplainError::ReferenceUnknown { .. })
            | Self::Ops(
                OpsError::NotListed { .. } | OpsError::PasswordUnknown { .. } | OpsError::QueueUnknown { .. },
            ) => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What is told of it. It goes with the response, so that the page can have the ways to the other pages where somebody is signed in.
#[derive(Clone)]
pub(in crate::admin::web) struct Problem {
    said: String,
    remedy: Option<String>,
}

impl Problem {
    /// The page that tells it.
    pub(in crate::admin::web) fn page(&self, visitor: Option<&Visitor>) -> Html<String> {
        let body = html! {
            p.bad { (words(&self.said)) }
            @if let Some(remedy) = &self.remedy { p { (words(remedy)) } }
        };
        page("That cannot be shown", visitor, &body)
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let (status, remedy) = (self.status(), self.fault().remedy());
        if status.is_server_error() {
            warn!(code = self.fault().code(), remedy, "a page of the console cannot be shown: {self}");
        }
        let problem = Problem { said: self.to_string(), remedy };
        let mut response = (status, problem.page(None)).into_response();
        response.extensions_mut().insert(problem);
        response
    }
}
