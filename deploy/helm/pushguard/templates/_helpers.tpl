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
