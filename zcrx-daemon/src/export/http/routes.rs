//! What is served where.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Endpoint;
use crate::export::{metrics, not_ready};
use crate::view::landing;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML_TYPE: &str = "text/html; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";

/// The page needs its own style and script, and asks only this endpoint for itself.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'";

pub(super) fn router(endpoint: Arc<Endpoint>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/refresh.js", get(script))
        .route("/metrics", get(scrape))
        .route("/diagnose.json", get(diagnose))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_that_way)
        .layer(map_response(harden))
        .with_state(endpoint)
}

async fn scrape(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let diagnosis = Arc::clone(&endpoint.diagnosis.borrow());
    match metrics::render(&endpoint.observer.observe(), &diagnosis) {
        Ok(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n"))
            .into_response(),
    }
}

async fn page(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let observation = endpoint.observer.observe();
    let reasons = not_ready(*endpoint.phase.borrow(), &observation.host.receive);
    let diagnosis = Arc::clone(&endpoint.diagnosis.borrow());
    let html = landing::page(&observation, &diagnosis, &reasons);
    ([(CONTENT_TYPE, HTML_TYPE), (CONTENT_SECURITY_POLICY, PAGE_POLICY)], html).into_response()
}

async fn diagnose(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let diagnosis = Arc::clone(&endpoint.diagnosis.borrow());
    match serde_json::to_string(&*diagnosis) {
        Ok(json) => ([(CONTENT_TYPE, JSON_TYPE)], json).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the diagnosis cannot be written: {error}\n"))
                .into_response()
        }
    }
}

async fn script() -> Response {
    ([(CONTENT_TYPE, SCRIPT_TYPE)], landing::REFRESH).into_response()
}

async fn healthy() -> &'static str {
    "alive\n"
}

async fn ready(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let reasons = not_ready(*endpoint.phase.borrow(), &(endpoint.observer.receive)());
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", reasons.join("\n"))).into_response()
}

async fn nowhere() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "nothing here; there are /, /metrics, /diagnose.json, /healthz and /readyz\n")
}

async fn not_that_way() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
