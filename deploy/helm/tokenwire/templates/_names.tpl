{{/* Name and labels of all objects of a release. */}}

{{- define "tokenwire.name" -}}
{{- if contains "tokenwire" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-tokenwire{{ end }}
{{- end }}

{{- define "tokenwire.selector" -}}
app.kubernetes.io/name: tokenwire
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tokenwire.labels" -}}
{{ include "tokenwire.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* How a probe asks for a health name: by gRPC, which Kubernetes speaks in plain text only. */}}
{{- define "tokenwire.probe" -}}
{{- if .values.tlsSecret -}}
exec:
  command: {{ concat (list "tokenwire" "health" "--service" .service) .values.healthArgs | toJson }}
{{- else -}}
grpc:
  port: {{ .values.ports.grpc }}
  service: {{ .service | quote }}
{{- end }}
{{- end }}
