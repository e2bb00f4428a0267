//! zcrxd itself: what it costs, what it is attached to, and what it misses.

use super::panel::{BYTES, COUNT, ORANGE, Panel, RATE, RED, SECONDS, SHARE, STATE};
use super::{Dashboard, Row};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "daemon",
        title: "zcrx / zcrxd",
        description: "zcrxd itself: what it costs, what it is attached to, and what it misses.",
        of_queues: false,
        from: "6h",
        rows: vec![overview(), utilization(), saturation(), losses(), registrations()],
    }
}

fn overview() -> Row {
    Row {
        title: "What runs",
        panels: vec![
            Panel::stat("Up", COUNT, "Targets of the chosen jobs that can be scraped.")
                .ask("sum(up{HOST})", "up")
                .runbook("ZcrxdDown"),
            Panel::stat("Started", SECONDS, "Time since the zcrxd that started last did so.")
                .ask("time() - max(process_start_time_seconds{HOST} and on (job, instance) zcrx_build_info{HOST})", "ago")
                .runbook("ZcrxdRestarting"),
            Panel::table("Versions", STATE, "The zcrxd that runs on each host.")
                .ask("zcrx_build_info{HOST}", "")
                .hide(&["Value"])
                .wide(8),
            Panel::table("Kernels", STATE, "The kernel that runs on each host; docs/kernels.md says what each of them allows.")
                .ask("zcrx_kernel_info{HOST}", "")
                .hide(&["Value"])
                .wide(8),
        ],
    }
}

fn utilization() -> Row {
    Row {
        title: "Utilization",
        panels: vec![
            Panel::lines("CPU", SHARE, "CPU time of zcrxd, in cores. Its own receive threads are part of it; an observer alone stays near zero.")
                .ask("rate(process_cpu_seconds_total{HOST}[$__rate_interval]) and on (job, instance) zcrx_build_info{HOST}", "{{instance}}"),
            Panel::lines("Memory", BYTES, "Resident and virtual memory of zcrxd; areas of its own receive queues are part of both.")
                .ask("process_resident_memory_bytes{HOST} and on (job, instance) zcrx_build_info{HOST}", "{{instance}} resident")
                .ask("process_virtual_memory_bytes{HOST} and on (job, instance) zcrx_build_info{HOST}", "{{instance}} virtual"),
            Panel::lines("Threads", COUNT, "Threads of zcrxd.")
                .ask("process_threads{HOST} and on (job, instance) zcrx_build_info{HOST}", "{{instance}}"),
            Panel::lines("Time to read a source", SECONDS, "How long reading each source took, per scrape.")
                .ask("max by (instance, source) (zcrx_observe_duration_seconds{HOST})", "{{instance}} {{source}}")
                .runbook("ZcrxScrapeSlow"),
            Panel::lines("Span of a snapshot", SECONDS, "The time span in which the kernel's state was read: figures of one scrape can disagree by what moved in it.")
                .ask("zcrx_snapshot_duration_seconds{HOST}", "{{instance}}"),
            Panel::lines("Queues in a snapshot", COUNT, "Interface queues found in the kernel.")
                .ask("zcrx_snapshot_queues{HOST}", "{{instance}}"),
        ],
    }
}

fn saturation() -> Row {
    Row {
        title: "Saturation",
        panels: vec![
            Panel::lines("File descriptors", SHARE, "Share of the file descriptors it may open that are open.")
                .ask("process_open_fds{HOST} / process_max_fds{HOST} and on (job, instance) zcrx_build_info{HOST}", "{{instance}}")
                .from(0.8, ORANGE)
                .at_most(1.0)
                .runbook("ZcrxdOutOfFileDescriptors"),
            Panel::lines("Web connections", COUNT, "Connections to the web endpoint that are open.")
                .ask("zcrx_web_connections{HOST}", "{{instance}}"),
            Panel::lines("New web connections", RATE, "Connections to the web endpoint that were accepted, and those that were closed, oldest first, because there were too many.")
                .ask("rate(zcrx_web_connections_accepted_total{HOST}[$__rate_interval])", "{{instance}} accepted")
                .ask("rate(zcrx_web_connections_evicted_total{HOST}[$__rate_interval])", "{{instance}} evicted")
                .runbook("ZcrxWebConnectionsEvicted"),
        ],
    }
}

fn losses() -> Row {
    Row {
        title: "What it misses",
        panels: vec![
            Panel::table("Probes", STATE, "By which mechanism each probe is attached: 1 attached, 0 tried and refused. A probe with no line of 1 is missing; `zcrxd probes` on the host says why.")
                .ask("sort(zcrx_probe_attached{HOST})", "")
                .value("attached")
                .runbook("ZcrxProbeMissing"),
            Panel::lines("Lost events", RATE, "Events that the kernel could not hand over because a buffer was full.")
                .ask("rate(zcrx_probe_lost_events_total{HOST}[$__rate_interval])", "{{instance}}")
                .from(0.001, RED)
                .wide(12)
                .runbook("ZcrxProbeLosesEvents"),
            Panel::lines("Incomplete snapshots", COUNT, "Reasons why something may be missing from the snapshot of the kernel's queues; the landing page and `zcrxd queues` name them.")
                .ask("zcrx_snapshot_incomplete{HOST}", "{{instance}}")
                .from(1.0, ORANGE)
                .runbook("ZcrxSnapshotIncomplete"),
            Panel::lines("Age of the diagnosis", SECONDS, "Time since queues were last looked at for a diagnosis.")
                .ask("zcrx_diagnosis_age_seconds{HOST}", "{{instance}}")
                .from(30.0, RED)
                .runbook("ZcrxDiagnosisStale"),
            Panel::lines("Scrapes", SECONDS, "How long Prometheus waited for the metrics of each host.")
                .ask("scrape_duration_seconds{HOST} and on (job, instance) zcrx_build_info{HOST}", "{{instance}}")
                .runbook("ZcrxScrapeSlow"),
        ],
    }
}

fn registrations() -> Row {
    Row {
        title: "Registrations on these hosts",
        panels: vec![
            Panel::lines("Attempts", RATE, "Attempts of any process to register an interface queue, and of them those that the kernel refused.")
                .ask("rate(zcrx_registrations_total{HOST}[$__rate_interval])", "{{instance}} all")
                .ask("rate(zcrx_registration_failures_total{HOST}[$__rate_interval])", "{{instance}} {{errno}}")
                .runbook("ZcrxRegistrationsRefused"),
            Panel::lines("Duration of the last", SECONDS, "How long the kernel took over the last attempt; it restarts the hardware queue meanwhile.")
                .ask("zcrx_registration_last_duration_seconds{HOST}", "{{instance}}"),
            Panel::table("The last", STATE, "Who last asked for what and how it ended; no errno means well.")
                .ask("zcrx_registration_last_info{HOST}", "")
                .hide(&["Value"])
                .wide(8),
        ],
    }
}
