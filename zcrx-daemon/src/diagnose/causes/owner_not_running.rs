//! The thread that must receive does not run.

use std::time::Duration;

use crate::diagnose::facts::{Facts, Halt};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{CONSIDERABLE, LASTING};
use crate::diagnose::words;
use crate::model::{Cause, Confidence, RunState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::OwnerNotRunning,
    letter: None,
    title: "Owner not running",
    signature: "the queue starves, and the thread that must receive is stopped, traced, frozen, throttled, without a CPU, waits \
                for a disk, or does not enter the kernel: only its own system calls move data out of the sockets",
    remedy: "let the thread run: SIGCONT or detach the debugger, raise cpu.max or the cgroup's weight, move what blocks (disk, \
             locks) to another thread",
    run: &["ps -o pid,stat,wchan:32,comm -Lp {pid}", "cat /proc/{pid}/stack", "cat /proc/{pid}/cgroup"],
    produced: Produced::Lab {
        how: "the application is stopped by SIGSTOP or waits in uninterruptible sleep",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: None,
    needs: &["snapshot"],
    by_placement: true,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    if !facts.starved() {
        return Judgement::Not;
    }
    let typical = facts.typical();
    let places = [typical.held, typical.completed, typical.sockets];
    let share = places.into_iter().flatten().sum::<f64>();
    if share < CONSIDERABLE {
        return Judgement::Not;
    }
    let (said, idle) = match facts.owner.halt {
        Some(Halt::State(run)) => {
            (format!("the thread that must receive does not run: {}", state(run)), facts.owner.idle_for)
        }
        Some(Halt::Throttled(share)) => (
            format!(
                "the thread that must receive seldom runs: cpu.max of its cgroup held it back {:.0} % of the time",
                share * 100.0
            ),
            Duration::ZERO,
        ),
        Some(Halt::NoCpu(share)) => (
            format!(
                "the thread that must receive seldom runs: it was ready and had no CPU {:.0} % of the time",
                share * 100.0
            ),
            Duration::ZERO,
        ),
        None => return silent(facts, share),
    };
    Case::new(Confidence::High, share)
        .evidence(said)
        .evidence_if((idle >= LASTING).then(|| format!("it last did something {} ago", words::time(idle))))
        .evidence_if(facts.ring_that_waits())
        .fits()
}

/// The thread may run, but it does not enter the kernel for its ring.
fn silent(facts: &Facts<'_>, share: f64) -> Judgement {
    if !facts.owner_went_silent() {
        return Judgement::Not;
    }
    let owner = &facts.owner;
    let pending = owner.work_pending;
    let confidence = if pending == Some(true) { Confidence::High } else { Confidence::Medium };
    Case::new(confidence, share)
        .evidence(format!(
            "the owner has not entered its ring for {}, and data waits in sockets",
            words::time(owner.idle_for)
        ))
        .evidence_if((pending == Some(true)).then(|| "work of the ring waits for it".to_owned()))
        .evidence_if(facts.ring_that_waits())
        .doubt_if(owner.waits_in_ring == Some(true), || {
            "it sleeps in the ring: the kernel would wake it for data on an armed receive".to_owned()
        })
        .fits()
}

const fn state(run: RunState) -> &'static str {
    match run {
        RunState::Stopped => "stopped by a signal (state T)",
        RunState::Traced => "stopped by a debugger (state t)",
        RunState::Frozen => "frozen by its cgroup",
        RunState::Uninterruptible => "in uninterruptible sleep (state D)",
        RunState::Exited => "exited",
        RunState::Running | RunState::Sleeping | RunState::Idle => "not scheduled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_stopped_owner_is_named_with_its_state() {
        let mut queue = Queue { socket_limit: 100_000, ..Queue::default() };
        queue.run(5);
        queue.owner_runs = false;
        queue.run_state = Some(RunState::Stopped);
        let verdict = verdict(&queue.run(4));
        let finding = first(&verdict, Cause::OwnerNotRunning);
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
        assert!(finding.evidence[0].contains("stopped by a signal"), "{finding:?}");
    }

    #[test]
    fn synthetic_owner_that_came_back_after_a_long_absence_is_slow() {
        // Away for longer than the window of samples.
        let mut queue = Queue {
            buffers: 4730,
            ring: 128,
            arrivals_per_second: 1_050.0,
            socket_limit: 20_000,
            cadence: Duration::from_millis(250),
            ..Queue::default()
        };
        let mut history = crate::diagnose::History::new(30);
        queue.run_with(5, |sample| history.push(sample));
        queue.visits_every_ms = 10_500;
        let mut seconds = 0;
        queue.run_with(60, |sample| {
            history.push(sample);
            seconds += 1;
            let verdict = verdict(&history);
            let away = verdict.causes.first().is_some_and(|found| found.cause == Cause::OwnerNotRunning);
            assert!(seconds < 4 * 22 || !away, "{verdict:#?}");
        });
    }
}
