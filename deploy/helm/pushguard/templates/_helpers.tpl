{{- define "pushguard.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "pushguard.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pushguard.labels" -}}
{{ include "pushguard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "pushguard.health" -}}
{{- $scheme := ternary "https" "http" .Values.web.tls -}}
exec: {command: [/bin/pushguard, health, "--url={{ $scheme }}://127.0.0.1:9091"{{ if .Values.probes.exec }}, --config.file=/etc/pushguard/web/client.yml{{ end }}
{{- end }}

{{- define "pushguard.live" -}}
{{- if or .Values.probes.exec .Values.pushgateway.url -}}
# Not /-/healthy itself where a Pushgateway answers that: to restart the guard
# does not mend it.
{{ include "pushguard.health" . }}, --live]}
timeoutSeconds: 6
{{- else -}}
httpGet: {path: /-/healthy, port: http, scheme: {{ ternary "HTTPS" "HTTP" .Values.web.tls }}}
{{- end -}}
{{- end }}

{{- /* Whether several guards share what they know; a combination that no guard takes fails here. */ -}}
{{- define "pushguard.shares" -}}
{{- $v := .Values -}}
{{- $shares := or $v.stateUrl.url $v.stateUrl.existingSecret -}}
{{- if and (gt (int $v.replicas) 1) (not $shares) -}}
{{- fail (printf "replicas is %d: several guards each count for themselves unless they share a Redis; set stateUrl.url or stateUrl.existingSecret (docs/many-guards.md)" (int $v.replicas)) -}}
{{- end -}}
{{- if and $v.stateUrl.url $v.stateUrl.existingSecret -}}
{{- fail "stateUrl.url and stateUrl.existingSecret both name a Redis: set one of them" -}}
{{- end -}}
{{- if and $shares (not $v.pushgateway.url) -}}
{{- fail "stateUrl is for guards in front of one Pushgateway: set pushgateway.url" -}}
{{- end -}}
{{- if $shares }}yes{{ end -}}
{{- end }}
