//! What is served where.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use super::{Endpoint, negotiate};
use crate::export::metrics::Format;
use crate::export::{metrics, not_ready};
use crate::observe::Observation;
use crate::view::{landing, runbook};

/// Media type of Prometheus text.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const HTML_TYPE: &str = "text/html; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";

/// Requests that look at the host at once: looks follow one another anyway.
const AT_ONCE: usize = 4;

/// How long a request waits until one of those ends: what Prometheus gives a scrape by default.
const SLOT_TIMEOUT: Duration = Duration::from_secs(10);

/// The page needs its own style and script, and asks only this endpoint for itself.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Whether a path is served with something else than metrics.
pub fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/refresh.js" | "/diagnose.json" | "/runbook" | "/healthz" | "/readyz")
        || path.starts_with("/runbook/")
}

pub(super) fn router(endpoint: Arc<Endpoint>) -> Router {
    let scrapes = endpoint.max_requests.map(|limit| Arc::new(Semaphore::new(limit)));
    Router::new()
        .route("/", get(page))
        .route("/refresh.js", get(script))
        .route(&endpoint.telemetry_path.clone(), get(scrape))
        .route("/diagnose.json", get(diagnose))
        .route("/runbook", get(runbook_index))
        .route("/runbook/{page}", get(runbook_page))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_that_way)
        .layer(map_response(harden))
        .with_state(Arc::new(AppState {
            endpoint,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            readers: Arc::new(Semaphore::new(AT_ONCE)),
            scrapes,
        }))
}

/// Runs requests that take time on threads of their own.
struct AppState {
    endpoint: Arc<Endpoint>,
    /// Requests that sample the host.
    turns: Arc<Semaphore>,
    /// Requests that read what the last sample says: they are answered also while a driver holds up all samples.
    readers: Arc<Semaphore>,
    /// Further scrapes that may begin; `None` for any number.
    scrapes: Option<Arc<Semaphore>>,
}

impl AppState {
    /// Samples the host and answers.
    async fn look(
        &self,
        answer: impl FnOnce(&Endpoint, &Observation) -> Response + Send + 'static,
    ) -> Response {
        self.in_turn(&self.turns, |endpoint| answer(endpoint, &endpoint.observer.observe())).await
    }

    /// Answers on a thread that may block: a sample that waits for a driver must not keep `/healthz` from answering. There are few
    /// such threads; a request that waits longer than the limit gets 503.
    async fn in_turn(
        &self,
        turns: &Arc<Semaphore>,
        answer: impl FnOnce(&Endpoint) -> Response + Send + 'static,
    ) -> Response {
        let turn = tokio::time::timeout(SLOT_TIMEOUT, Arc::clone(turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return busy("too many requests at once\n");
        };
        let endpoint = Arc::clone(&self.endpoint);
        let answered = tokio::task::spawn_blocking(move || {
            let response = answer(&endpoint);
            drop(turn);
            response
        });
        answered.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

fn busy(words: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], words).into_response()
}

async fn scrape(
    State(state): State<Arc<AppState>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    // Held until the answer is complete.
    let permit = match state.scrapes.clone().map(Semaphore::try_acquire_owned) {
        Some(Err(_)) => {
            return busy("more scrapes at once than --web.max-requests (max_requests under [web]) allows\n");
        }
        Some(Ok(permit)) => Some(permit),
        None => None,
    };
    let named = query.into_iter().filter(|(key, _)| key == "name[]" || key == "name");
    let names: Vec<String> = named.map(|(_, name)| name).collect();
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let openmetrics = negotiate::openmetrics(accept);
    state
        .look(move |endpoint, observation| {
            let _permit = permit;
            let outlook = (endpoint.outlook)();
            let (kind, text) = match openmetrics {
                Some(version) => (
                    format!("application/openmetrics-text; version={version}; charset=utf-8"),
                    metrics::render(observation, &outlook, Format::OpenMetrics, &names),
                ),
                None => {
                    (METRICS_TYPE.to_owned(), metrics::render(observation, &outlook, Format::Text, &names))
                }
            };
            ([(CONTENT_TYPE, kind), (VARY, "accept".to_owned())], text).into_response()
        })
        .await
}

async fn page(State(state): State<Arc<AppState>>) -> Response {
    state
        .look(|endpoint, observation| {
            let reasons = not_ready(*endpoint.phase.borrow(), &observation.host.receive);
            let diagnosis = (endpoint.diagnosis)();
            let html = landing::page(observation, &diagnosis, &reasons, &endpoint.telemetry_path);
            ([(CONTENT_TYPE, HTML_TYPE), (CONTENT_SECURITY_POLICY, PAGE_POLICY)], html).into_response()
        })
        .await
}

async fn diagnose(State(state): State<Arc<AppState>>) -> Response {
    let answer = |endpoint: &Endpoint| match serde_json::to_string(&(endpoint.diagnosis)()) {
        Ok(json) => ([(CONTENT_TYPE, JSON_TYPE)], json).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the diagnosis cannot be written: {error}\n"))
                .into_response()
        }
    };
    state.in_turn(&state.readers, answer).await
}

async fn script() -> Response {
    ([(CONTENT_TYPE, SCRIPT_TYPE)], landing::REFRESH).into_response()
}

/// The runbook as plain text, which every browser shows.
async fn runbook_index() -> Response {
    ([(CONTENT_TYPE, TEXT_TYPE)], runbook::INDEX).into_response()
}

async fn runbook_page(Path(name): Path<String>) -> Response {
    match runbook::page(&name) {
        Some(page) => ([(CONTENT_TYPE, TEXT_TYPE)], page.into_owned()).into_response(),
        None => (StatusCode::NOT_FOUND, "the runbook has no such page; /runbook lists the pages\n")
            .into_response(),
    }
}

async fn healthy() -> &'static str {
    "alive\n"
}

async fn ready(State(state): State<Arc<AppState>>) -> Response {
    let endpoint = &state.endpoint;
    let reasons = not_ready(*endpoint.phase.borrow(), &(endpoint.observer.receive)());
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", reasons.join("\n"))).into_response()
}

async fn nowhere(State(state): State<Arc<AppState>>) -> (StatusCode, String) {
    let metrics = &state.endpoint.telemetry_path;
    (
        StatusCode::NOT_FOUND,
        format!("nothing here; there are /, {metrics}, /diagnose.json, /runbook, /healthz and /readyz\n"),
    )
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
