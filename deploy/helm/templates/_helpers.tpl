{{- define "twins.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* Leaves room for the longest suffix, -headless. */ -}}
{{- define "twins.fullname" -}}
{{- $name := include "twins.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- end -}}

{{- define "twins.selector" -}}
app.kubernetes.io/name: {{ include "twins.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "twins.labels" -}}
{{ include "twins.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "twins.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "twins.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "twins.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "twins.weightsClaim" -}}
{{- if .Values.weights.existingClaim -}}
{{ .Values.weights.existingClaim }}
{{- else if .Values.weights.claim.create -}}
{{ include "twins.fullname" . }}-weights
{{- end -}}
{{- end -}}

{{- /* One setting as its variable holds it. YAML's numbers arrive as floats, which print as 6.7e+07 beyond six digits. */ -}}
{{- define "twins.settingValue" -}}
{{- $value := .value -}}
{{- if kindIs "slice" $value -}}
{{ join (ternary " " "," (eq .name "preprocess")) $value }}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{ int64 $value }}
{{- else -}}
{{ $value }}
{{- end -}}
{{- end -}}

{{- define "twins.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "twins.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: weights
  mountPath: /weights
{{- end -}}

{{- define "twins.token" -}}
{{- with .Values.weights.tokenSecret }}
{{- if .name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The service ends within 10 s of the grace; two more are left for the platform. */ -}}
{{- define "twins.terminationSeconds" -}}
{{ add (ceil (addf .Values.drainDelaySeconds .Values.graceSeconds)) 12 }}
{{- end -}}

{{- define "twins.startSeconds" -}}
{{ add (ceil .Values.probes.startSeconds) (ceil (default 600 .Values.settings.start_timeout_s)) 60 }}
{{- end -}}

{{- /* Whether a frontend listens. A probe has no certificate of a client, so with mutual TLS it only connects. */ -}}
{{- define "twins.livenessAction" -}}
{{- if and .Values.tls.existingSecret .Values.tls.clientCa -}}
tcpSocket:
  port: http
{{- else -}}
httpGet:
  path: /livez
  port: http
  scheme: {{ ternary "HTTPS" "HTTP" (not (empty .Values.tls.existingSecret)) }}
{{- end -}}
{{- end -}}
