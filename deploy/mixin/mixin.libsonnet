// Rules and dashboards of zcrxd as a mixin: set the fields of _config, then use prometheusAlerts, prometheusRules and
// grafanaDashboards as with any other mixin. The files beside this one are generated.
local thresholds = {
  alarm_seconds_5m: 60,
  time_to_starvation_seconds: 600,
  episodes_1h: 3,
  copied_ratio: 0.1,
  registration_failures_15m: 3,
  sink_errors_15m: 1,
  diagnosis_age_seconds: 30,
  scrape_seconds: 2,
  open_fds_ratio: 0.8,
  restarts_30m: 2,
  certificate_lifetime_ratio: 0.1,
};

{
  _config+:: {
    // Regular expression for the names of the scrape job.
    job: '(.+/)?zcrxd',
    // Label that names the cluster of a host; queries keep it, and where no series has it, it changes nothing.
    cluster: 'cluster',
    // Address of the runbook; zcrxd serves it on every host.
    runbook: 'http://{{ $labels.instance }}/runbook',
    thresholds: thresholds,
    // Severities of alerts that page, and of those that do not.
    critical: 'critical',
    warning: 'warning',
  },

  local config = $._config,
  local parameters = config.thresholds {
    job: config.job,
    cluster: config.cluster,
    runbook: config.runbook,
    critical: config.critical,
    warning: config.warning,
  },
  local filled(text) = std.parseYaml(std.foldl(
    function(text, name) std.strReplace(text, '@' + name + '@', '%s' % parameters[name]),
    std.objectFields(parameters),
    text
  )),

  prometheusAlerts+:: filled(importstr 'alerts.yml'),
  prometheusRules+:: filled(importstr 'recording.yml'),
  grafanaDashboards+:: {
    'zcrx-fleet.json': import '../../dashboards/fleet.json',
    'zcrx-queue.json': import '../../dashboards/queue.json',
    'zcrx-starvation.json': import '../../dashboards/starvation.json',
    'zcrx-daemon.json': import '../../dashboards/daemon.json',
  },
}
