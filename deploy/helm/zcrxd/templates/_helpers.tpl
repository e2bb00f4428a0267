{{- define "zcrxd.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "zcrxd.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "zcrxd.name" .) -}}
{{- end -}}

{{- define "zcrxd.selector" -}}
app.kubernetes.io/name: zcrxd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "zcrxd.labels" -}}
{{ include "zcrxd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
