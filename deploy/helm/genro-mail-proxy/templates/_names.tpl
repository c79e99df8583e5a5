{{/* Names and labels. A component is given as (dict "root" $ "component" "api"). */}}

{{- define "mail-proxy.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Never changes in an upgrade: selectors cannot. */}}
{{- define "mail-proxy.selector" -}}
app.kubernetes.io/name: genro-mail-proxy
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "mail-proxy.labels" -}}
{{ include "mail-proxy.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}
