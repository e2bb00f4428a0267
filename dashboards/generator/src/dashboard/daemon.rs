//! zcrxd itself: what it costs, what it is attached to, and what it misses.

use super::panel::{BYTES, COUNT, GREEN, ORANGE, Panel, RATE, RED, SECONDS, SHARE, STATE};
use super::{Dashboard, Row};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "daemon",
        title: "zcrx / zcrxd",
        description: "zcrxd itself: what it costs, what it is attached to, and what it misses.",
        of_queues: false,
        one_host: true,
        open_rows: 3,
        from: "6h",
        rows: vec![overview(), utilization(), saturation(), losses(), cost(), service(), registrations()],
    }
}

fn overview() -> Row {
    Row {
        title: "What runs",
        panels: vec![
            Panel::stat("Up", COUNT, "Targets of the chosen jobs that can be scraped.")
                .ask("sum(up{HOST})", "up")
                .from(0.0, RED)
                .from(1.0, GREEN)
                .runbook("ZcrxdDown"),
            Panel::stat("Started", SECONDS, "Time since the zcrxd that started last did so.")
                .ask("time() - max(process_start_time_seconds{HOST} and on (job, instance) zcrxd_build_info{HOST})", "ago")
                .runbook("ZcrxdRestarting"),
            Panel::table("Versions", STATE, "The zcrxd that runs on each host.")
                .ask("zcrxd_build_info{HOST}", "")
                .hide(&["Value"])
                .wide(8),
            Panel::table("Kernels", STATE, "The kernel that runs on each host; docs/kernels.md says what each of them allows.")
                .ask("zcrxd_kernel_info{HOST}", "")
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
                .ask("rate(process_cpu_seconds_total{HOST}[$__rate_interval]) and on (job, instance) zcrxd_build_info{HOST}", "{{instance}}"),
            Panel::lines("Memory", BYTES, "Resident and virtual memory of zcrxd; areas of its own receive queues are part of both.")
                .ask("process_resident_memory_bytes{HOST} and on (job, instance) zcrxd_build_info{HOST}", "{{instance}} resident")
                .ask("process_virtual_memory_bytes{HOST} and on (job, instance) zcrxd_build_info{HOST}", "{{instance}} virtual"),
            Panel::lines("Threads", COUNT, "Threads of zcrxd.")
                .ask("process_threads{HOST} and on (job, instance) zcrxd_build_info{HOST}", "{{instance}}"),
            Panel::lines("Time to read a source", SECONDS, "How long reading each source took, per scrape.")
                .ask("max by (instance, collector) (zcrxd_collector_duration_seconds{HOST})", "{{collector}}")
                .runbook("ZcrxScrapeSlow"),
            Panel::states("Complete reads", STATE, "1 if a collector read all that this host offers, 0 if something is missing: `zcrxd queues` names it.")
                .ask("min by (instance, collector) (zcrxd_collector_success{HOST})", "{{collector}}")
                .from(0.0, ORANGE)
                .from(1.0, GREEN)
                .runbook("ZcrxSnapshotIncomplete"),
            Panel::lines("Span of a snapshot", SECONDS, "The time span in which the kernel's state was read: figures of one scrape can disagree by what moved in it.")
                .ask("zcrxd_snapshot_duration_seconds{HOST}", "{{instance}}"),
            Panel::lines("Queues in a snapshot", COUNT, "Interface queues found in the kernel.")
                .ask("zcrxd_snapshot_queues{HOST}", "{{instance}}"),
        ],
    }
}

fn saturation() -> Row {
    Row {
        title: "Saturation",
        panels: vec![
            Panel::lines("File descriptors", SHARE, "Share of the file descriptors it may open that are open.")
                .ask("process_open_fds{HOST} / process_max_fds{HOST} and on (job, instance) zcrxd_build_info{HOST}", "{{instance}}")
                .from(0.8, ORANGE)
                .at_most(1.0)
                .runbook("ZcrxdOutOfFileDescriptors"),
            Panel::lines("Web connections", COUNT, "Connections to the web endpoint that are open.")
                .ask("zcrxd_web_connections{HOST}", "{{instance}}"),
            Panel::lines("New web connections", RATE, "Connections to the web endpoint that were accepted, and those that were closed, oldest first, because there were too many.")
                .ask("rate(zcrxd_web_accepted_connections_total{HOST}[$__rate_interval])", "{{instance}} accepted")
                .ask("rate(zcrxd_web_evicted_connections_total{HOST}[$__rate_interval])", "{{instance}} evicted")
                .runbook("ZcrxWebConnectionsEvicted"),
        ],
    }
}

fn losses() -> Row {
    Row {
        title: "What it misses",
        panels: vec![
            Panel::table("Probes", STATE, "State and mechanism of each probe. not_in_kernel: this kernel does not have what the probe observes, which is no fault. refused, failed: `zcrxd probes` on the host says why.")
                .ask("zcrxd_probe_info{HOST}", "")
                .hide(&["Value"])
                .runbook("ZcrxProbeMissing"),
            Panel::lines("Lost events", RATE, "Events that the kernel could not hand over because a buffer was full.")
                .ask("sum by (job, instance) (rate(zcrxd_probe_lost_events_total{HOST}[$__rate_interval]))", "{{instance}}")
                .from(0.001, RED)
                .wide(12)
                .runbook("ZcrxProbeLosesEvents"),
            Panel::lines("Incomplete snapshots", COUNT, "Reasons why something may be missing from the snapshot of the kernel's queues; the landing page and `zcrxd queues` name them.")
                .ask("zcrxd_snapshot_incomplete_reasons{HOST}", "{{instance}}")
                .from(1.0, ORANGE)
                .runbook("ZcrxSnapshotIncomplete"),
            Panel::lines("Age of the diagnosis", SECONDS, "Time since queues were last looked at for a diagnosis.")
                .ask("time() - zcrxd_diagnosis_timestamp_seconds{HOST}", "{{instance}}")
                .from(30.0, RED)
                .runbook("ZcrxDiagnosisStale"),
            Panel::lines("Scrapes", SECONDS, "How long Prometheus waited for the metrics of each host.")
                .ask("scrape_duration_seconds{HOST} and on (job, instance) zcrxd_build_info{HOST}", "{{instance}}")
                .runbook("ZcrxScrapeSlow"),
        ],
    }
}

fn cost() -> Row {
    Row {
        title: "What probes cost",
        panels: vec![
            Panel::lines("Time in programs", SHARE, "Time that runs of the attached programs took, in cores; what it takes to get there is not in it. Only while the kernel counts (deploy/drop-ins/bpf-stats.conf).")
                .ask("rate(zcrxd_probe_program_run_seconds_total{HOST}[$__rate_interval])", "{{instance}} {{program}}"),
            Panel::lines("Runs of programs", RATE, "Runs of the attached programs, and those that the kernel left out.")
                .ask("rate(zcrxd_probe_program_runs_total{HOST}[$__rate_interval])", "{{instance}} {{program}}")
                .ask("rate(zcrxd_probe_program_missed_runs_total{HOST}[$__rate_interval])", "{{instance}} {{program}} missed"),
            Panel::lines("Memory of maps", BYTES, "Kernel memory of all BPF maps of zcrxd.")
                .ask("zcrxd_probe_memory_bytes{HOST}", "{{instance}}"),
            Panel::lines("Fullest map", SHARE, "Share of its capacity that the fullest BPF map uses. At 100 %, events are lost.")
                .ask("zcrxd_probe_fullest_map_ratio{HOST}", "{{instance}}")
                .from(0.8, ORANGE)
                .from(1.0, RED)
                .at_most(1.0),
            Panel::lines("Losses", RATE, "What was lost on its way from the kernel, by what it was.")
                .ask("rate(zcrxd_probe_lost_events_total{HOST}[$__rate_interval])", "{{instance}} {{loss}}")
                .runbook("ZcrxProbeLosesEvents"),
            Panel::lines("Lives", RATE, "Provider pools that began, were refused and ended; queues and rings that ended; control calls that named no queue of their ring.")
                .ask("rate(zcrx_provider_pools_attached_total{HOST}[$__rate_interval])", "{{instance}} pools begun")
                .ask("rate(zcrx_provider_pools_refused_total{HOST}[$__rate_interval])", "{{instance}} pools refused")
                .ask("rate(zcrx_provider_pools_freed_total{HOST}[$__rate_interval])", "{{instance}} pools ended")
                .ask("rate(zcrx_queues_freed_total{HOST}[$__rate_interval])", "{{instance}} queues ended")
                .ask("rate(zcrx_rings_freed_total{HOST}[$__rate_interval])", "{{instance}} rings ended")
                .ask("rate(zcrx_unmatched_control_calls_total{HOST}[$__rate_interval])", "{{instance}} controls astray"),
        ],
    }
}

fn service() -> Row {
    Row {
        title: "Service",
        panels: vec![
            Panel::states("Threads that answer", STATE, "1 while a thread answers in time; 0 otherwise: zcrxd then stops feeding the watchdog, and systemd restarts it.")
                .ask("zcrxd_thread_responsive{HOST}", "{{instance}} {{thread}}")
                .from(0.0, RED)
                .from(1.0, GREEN)
                .runbook("ZcrxThreadHangs"),
            Panel::states("Configuration", STATE, "1 if the configuration was good when it was last read; 0 if not: then the one before is in use.")
                .ask("zcrxd_config_last_reload_successful{HOST}", "{{instance}} configuration")
                .ask("zcrxd_web_config_last_reload_successful{HOST}", "{{instance}} web configuration")
                .from(0.0, RED)
                .from(1.0, GREEN)
                .runbook("ZcrxConfigReloadFailed"),
            Panel::lines("Age of the configuration", SECONDS, "Time since the configurations in use were read.")
                .ask("time() - zcrxd_config_last_reload_success_timestamp_seconds{HOST}", "{{instance}} configuration")
                .ask("time() - zcrxd_web_config_last_reload_success_timestamp_seconds{HOST}", "{{instance}} web configuration"),
            Panel::lines("Refused clients", RATE, "Requests to the web endpoint without the name and password of a user, and TLS handshakes that failed.")
                .ask("rate(zcrxd_web_unauthorized_requests_total{HOST}[$__rate_interval])", "{{instance}} unauthorized")
                .ask("rate(zcrxd_web_failed_tls_handshakes_total{HOST}[$__rate_interval])", "{{instance}} TLS"),
            Panel::lines("Certificates", SECONDS, "Time until certificates of the web endpoint expire: of the server (the first of its chain), and of the CAs of clients.")
                .ask("zcrxd_web_certificate_not_after_timestamp_seconds{HOST} - time()", "{{instance}} {{certificate}}")
                .runbook("ZcrxWebCertificateExpires"),
            Panel::lines("Log lines missing", RATE, "Log lines left out because the same place had said too much within a short time, and lines dropped because the log's reader did not keep up.")
                .ask("rate(zcrxd_log_suppressed_lines_total{HOST}[$__rate_interval])", "{{instance}} left out")
                .ask("rate(zcrxd_log_dropped_lines_total{HOST}[$__rate_interval])", "{{instance}} dropped"),
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
                .ask("zcrx_last_registration_duration_seconds{HOST}", "{{instance}}"),
            Panel::table("The last", STATE, "Who last asked for what and how it ended; no errno means well.")
                .ask("zcrx_last_registration_info{HOST}", "")
                .hide(&["Value"])
                .wide(8),
        ],
    }
}
