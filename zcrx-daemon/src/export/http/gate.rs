//! What every request passes: the check of who asks, and what every answer gets: headers, and gzip where it is welcome.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::access::Access;
use super::negotiate;

/// Below, compressing saves less than a packet.
const WORTH_COMPRESSING: usize = 1400;

/// Puts the gate in front of routes.
pub(super) fn guard(routes: Router, access: Arc<Access>) -> Router {
    routes.layer(from_fn_with_state(access, check))
}

/// Compresses the routes' answers.
pub(super) fn compress(routes: Router) -> Router {
    routes.layer(from_fn(shorten))
}

async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let settings = access.current();
    let open = access.is_open(request.uri().path());
    if !open && settings.rate.as_ref().is_some_and(|rate| !rate.allows(Instant::now())) {
        return (
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests for rate_limit of the web configuration\n",
        )
            .into_response();
    }
    let mut response = match &settings.users {
        Some(users) if !open => {
            let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
            if access.authenticator.accepts(users, header).await {
                next.run(request).await
            } else {
                access.count_unauthorized();
                let ask = [(WWW_AUTHENTICATE, "Basic realm=\"zcrxd\", charset=\"UTF-8\"")];
                (StatusCode::UNAUTHORIZED, ask, "name and password, please\n").into_response()
            }
        }
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in &settings.headers {
        headers.insert(name, value.clone());
    }
    response
}

async fn shorten(request: Request, next: Next) -> Response {
    let welcome = request.method() == Method::GET
        && request
            .headers()
            .get_all(ACCEPT_ENCODING)
            .iter()
            .any(|header| header.to_str().is_ok_and(negotiate::gzip));
    let mut response = next.run(request).await;
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    if !welcome || response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // Every body was made in memory: this waits for nothing, and its size is what it was.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if bytes.len() < WORTH_COMPRESSING {
        return Response::from_parts(head, Body::from(bytes));
    }
    let plain = bytes.clone();
    match tokio::task::spawn_blocking(move || gzip(&plain)).await {
        Ok(Ok(short)) => {
            head.headers.remove(CONTENT_LENGTH);
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(head, Body::from(short))
        }
        _ => Response::from_parts(head, Body::from(bytes)),
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
