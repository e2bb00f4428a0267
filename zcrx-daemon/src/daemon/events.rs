//! The documented events of the log (docs/logging.md): each has a stable id and fields, for programs that read the log as JSON
//! or in the journal, and a message for people.

use std::path::Path;

use tracing::{debug, error, info, warn};

use crate::model::{
    Cause, Episode, ProbeState, ProbeStatus, QueueKey, QueueState, ReceiveSample, Registration,
};
use crate::observe::{errno_label, refusal};

pub(super) fn ready() {
    info!(event = "ready", "ready");
}

pub(super) fn stopping(signal: &str) {
    info!(event = "stopping", signal, "stopping on {signal}");
}

pub(super) fn restarting() {
    info!(event = "restarting", "systemd starts zcrxd again: new connections wait for the next zcrxd");
}

pub(super) fn connections_left(connections: usize) {
    info!(event = "connections_left", connections, "{connections} connections go on in the next zcrxd");
}

pub(super) fn connections_not_left(connections: usize, error: &std::io::Error) {
    warn!(
        event = "connections_not_left",
        connections,
        %error,
        "{connections} connections end: systemd does not keep them ({error}); LimitNOFILE= of the service must allow them once more"
    );
}

pub(super) fn connections_taken_over(connections: usize) {
    info!(
        event = "connections_taken_over",
        connections,
        "{connections} connections of the zcrxd before wait in systemd's store; queues that suit them continue them"
    );
}

pub(super) fn connections_not_taken_over(connections: usize, error: &std::io::Error) {
    warn!(
        event = "connections_not_taken_over",
        connections,
        %error,
        "{connections} connections of the zcrxd before end: {error}"
    );
}

pub(super) fn counts_go_on(queues: usize) {
    info!(event = "counts_go_on", queues, "counts of {queues} queues go on from the zcrxd before");
}

pub(super) fn counts_begin_at_zero(reason: &str) {
    warn!(
        event = "counts_begin_at_zero",
        reason,
        "counts of queues begin at zero, which Prometheus takes for a reset: those of the zcrxd before cannot go on: {reason}"
    );
}

pub(super) fn web_listens(address: &str) {
    info!(event = "web_listens", address, "web endpoint on {address}");
}

pub(super) fn queue_receives(queue: &ReceiveSample) {
    let backend = queue.selection.backend.map_or("no backend", |backend| backend.name());
    let listen = queue.listen.join(", ");
    info!(
        event = "queue_receives",
        queue = %queue.key,
        listen,
        backend,
        sink = queue.sink,
        "queue {} receives on {listen} with backend {backend}, sink {}",
        queue.key,
        queue.sink
    );
}

pub(super) fn queue_state_changed(from: QueueState, now: &ReceiveSample) {
    let (from, to) = (from.name(), now.state.name());
    let reason = now.state_reason.as_str();
    if now.state == QueueState::Running {
        info!(event = "queue_state_changed", queue = %now.key, from, to, reason, "queue {}: {from} to {to}", now.key);
    } else {
        warn!(
            event = "queue_state_changed",
            queue = %now.key,
            from,
            to,
            reason,
            "queue {}: {from} to {to}: {reason}",
            now.key
        );
    }
}

pub(super) fn episode_began(episode: &Episode) {
    let cause = cause(episode);
    warn!(
        event = "episode_began",
        queue = %episode.key,
        episode = id(episode),
        alarm = episode.trouble.name(),
        cause,
        pid = pid(episode),
        "queue {}: {}; cause: {cause}",
        episode.key,
        episode.trouble.words()
    );
}

pub(super) fn episode_reconsidered(episode: &Episode) {
    let (alarm, cause) = (episode.trouble.name(), cause(episode));
    warn!(
        event = "episode_reconsidered",
        queue = %episode.key,
        episode = id(episode),
        alarm,
        cause,
        pid = pid(episode),
        "queue {}: still {alarm}; more likely cause: {cause}",
        episode.key
    );
}

pub(super) fn episode_ended(episode: &Episode) {
    let (alarm, cause) = (episode.trouble.name(), cause(episode));
    let seconds = episode.lasted(episode.noticed).as_secs_f64();
    info!(
        event = "episode_ended",
        queue = %episode.key,
        episode = id(episode),
        alarm,
        cause,
        pid = pid(episode),
        seconds,
        "queue {}: {alarm} is over after {seconds:.1} s; cause: {cause}",
        episode.key
    );
}

pub(super) fn episode_recorded(queue: &QueueKey, file: &Path) {
    let file = file.display();
    info!(
        event = "episode_recorded",
        %queue,
        %file,
        "queue {queue}: recording the episode in {file}; `zcrxd replay` shows it"
    );
}

/// Logs that a process could not register a queue, so many times with the same result.
pub(super) fn registration_refused(refused: &Registration, times: usize) {
    let line = refusal_text(refused);
    let interface = refused.interface.as_deref();
    let errno = errno_label(refused.errno);
    let (pid, comm, queue) = (refused.pid, refused.comm.as_str(), refused.queue);
    let again = if times > 1 { format!(" ({times} times)") } else { String::new() };
    warn!(event = "registration_refused", pid, comm, interface, queue, errno, times, "{line}{again}");
}

/// What happened, why, and what to do.
pub(super) fn refusal_text(refused: &Registration) -> String {
    let interface = refused.interface.as_deref().unwrap_or("an unknown interface");
    let queue = refused.queue.map(|queue| format!(":{queue}")).unwrap_or_default();
    let what = format!(
        "{}[{}] cannot register {interface}{queue}: {}",
        refused.comm,
        refused.pid,
        errno_label(refused.errno)
    );
    let why = refusal(refused).map_or_else(String::new, |refusal| {
        let quote = if refusal.said_by_kernel { "\"" } else { "" };
        format!(": {quote}{}{quote}; {}", refusal.why, refusal.remedy)
    });
    let hints = refused.hints.iter().flat_map(|hint| ["; ", hint.as_str()]).collect::<String>();
    what + &why + &hints
}

/// Logs whether a probe is attached, and which facts are unknown without it.
pub(super) fn probe(probe: &ProbeStatus) {
    let name = probe.name.as_str();
    if let Some((mechanism, target)) = &probe.attached {
        let mechanism = mechanism.name();
        info!(
            event = "probe_attached",
            probe = name,
            mechanism,
            target,
            "probe {name}: {mechanism} {target}"
        );
    } else if !probe.asked {
        debug!("probe {name}: not requested");
    } else if probe.state() == ProbeState::NotInKernel {
        info!(
            event = "probe_not_in_kernel",
            probe = name,
            "probe {name}: this kernel has nothing to attach to"
        );
    } else {
        let unknown = probe.lost_without.as_str();
        warn!(
            event = "probe_not_attached",
            probe = name,
            unknown,
            "probe {name} is not attached, so zcrxd does not know {unknown}; `zcrxd probes` says why"
        );
    }
}

pub(super) fn no_probe(reason: &str) {
    warn!(
        event = "no_probe_attached",
        reason, "no probe is attached, so zcrxd knows nothing of other programs' queues: {reason}"
    );
}

pub(super) fn configuration_applied(unchanged: usize, started: usize, stopped: usize) {
    info!(
        event = "configuration_applied",
        unchanged,
        started,
        stopped,
        "applied the new configuration: {unchanged} queues unchanged, {started} started, {stopped} stopped"
    );
}

pub(super) fn configuration_refused(reason: &str) {
    error!(
        event = "configuration_refused",
        reason, "the new configuration is refused, the old one stays in use: {reason}"
    );
}

pub(super) fn thread_silent(thread: &str) {
    error!(
        event = "thread_silent",
        thread, "thread {thread} does not answer; zcrxd no longer feeds the systemd watchdog"
    );
}

pub(super) fn thread_answers(thread: &str) {
    info!(event = "thread_answers", thread, "thread {thread} answers again");
}

fn cause(episode: &Episode) -> &'static str {
    episode.cause().map_or("unknown", Cause::name)
}

fn pid(episode: &Episode) -> Option<u32> {
    episode.owner.as_ref().map(|owner| owner.pid)
}

/// The same for every event of an episode: queue, generation and begin.
fn id(episode: &Episode) -> String {
    format!("{}-{}-{}", episode.key, episode.generation, episode.began.as_millis())
}

#[cfg(test)]
mod tests;
