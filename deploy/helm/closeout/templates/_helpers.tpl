{{- define "closeout.name" -}}
{{- if contains "closeout" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-closeout" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Of a component: dict "root" $ "component" "worker". */ -}}
{{- define "closeout.selector" -}}
app.kubernetes.io/name: closeout
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "closeout.labels" -}}
{{ include "closeout.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "closeout.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ required "image.tag or image.digest must be given" .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "closeout.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ include "closeout.name" . }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- /* The secrets of a component, with commas: no process gets one that it has no use for. */ -}}
{{- define "closeout.secrets" -}}
{{- $of := dict
  "migrate" (list "CLOSEOUT_DATABASE_URL")
  "server" (list "CLOSEOUT_ALPACA_KEY" "CLOSEOUT_ALPACA_SECRET" "CLOSEOUT_DATABASE_URL" "CLOSEOUT_REDIS_URL" "CLOSEOUT_API_KEYS" "CLOSEOUT_OPERATORS" "CLOSEOUT_OIDC_CLIENT_SECRET")
  "worker" (list "CLOSEOUT_ALPACA_KEY" "CLOSEOUT_ALPACA_SECRET" "CLOSEOUT_DATABASE_URL" "CLOSEOUT_REDIS_URL" "CLOSEOUT_SMTP_URL")
  "once" (list "CLOSEOUT_ALPACA_KEY" "CLOSEOUT_ALPACA_SECRET" "CLOSEOUT_DATABASE_URL" "CLOSEOUT_REDIS_URL" "CLOSEOUT_LEGACY_REDIS_URL") -}}
{{- $must := list "CLOSEOUT_ALPACA_KEY" "CLOSEOUT_ALPACA_SECRET" "CLOSEOUT_DATABASE_URL" "CLOSEOUT_REDIS_URL" -}}
{{- $out := list -}}
{{- range get $of .component -}}
{{- if or (has . $must) (has . $.root.Values.secret.optional) (hasKey $.root.Values.secret.elsewhere .) -}}{{- $out = append $out . -}}{{- end -}}
{{- end -}}
{{- join "," $out -}}
{{- end }}

{{- /* Settings stand in the pod's template itself and in no ConfigMap: a change rolls out, and a roll-back brings the old ones back. */ -}}
{{- define "closeout.env" -}}
{{- $env := dict "CLOSEOUT_ENVIRONMENT" .root.Values.environment
  "CLOSEOUT_ALPACA_URL" (ternary "https://broker-api.alpaca.markets" "https://broker-api.sandbox.alpaca.markets" (eq .root.Values.environment "live")) -}}
{{- if .root.Values.accountStatus }}{{ $_ := set $env "CLOSEOUT_ACCOUNT_STATUS" .root.Values.accountStatus }}{{ end -}}
{{- if .root.Values.ingress.enabled }}{{ $_ := set $env "CLOSEOUT_PUBLIC_URL" (printf "https://%s" .root.Values.ingress.host) }}{{ end -}}
{{- if .root.Values.authorities }}{{ $_ := set $env "SSL_CERT_DIR" "/run/closeout/authorities" }}{{ end -}}
{{- range splitList "," (include "closeout.secrets" .) }}{{ $_ := set $env (printf "%s_FILE" .) (printf "/run/closeout/secrets/%s" .) }}{{ end -}}
{{- $env = merge $env .root.Values.settings .root.Values.otel -}}
{{- range $name := keys $env | sortAlpha }}
- name: {{ $name }}
  value: {{ get $env $name | quote }}
{{- end }}
{{- end }}

{{- define "closeout.mounts" -}}
- name: secrets
  mountPath: /run/closeout/secrets
  readOnly: true
{{- if .Values.authorities }}
- name: authorities
  mountPath: /run/closeout/authorities
  readOnly: true
{{- end }}
{{- end }}

{{- define "closeout.volumes" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range splitList "," (include "closeout.secrets" .) }}
      {{- $at := get $.root.Values.secret.elsewhere . | default (dict "name" $.root.Values.secret.name "key" .) }}
      - secret:
          name: {{ $at.name }}
          items:
            - key: {{ $at.key }}
              path: {{ . }}
      {{- end }}
{{- with .root.Values.authorities }}
- name: authorities
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}

{{- define "closeout.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532 # it reads the secrets' files
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "closeout.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true # nothing is written
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What the pods share that come after the install. */ -}}
{{- define "closeout.pod" -}}
serviceAccountName: {{ include "closeout.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false # Kubernetes would set CLOSEOUT_… variables of its own for a Service of that name
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "closeout.podSecurity" . | nindent 2 }}
topologySpreadConstraints: # as far apart as there is room; with one node left they all run there
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "closeout.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- with .root.Values.pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  {{- include "closeout.volumes" . | nindent 2 }}
{{- end }}

{{- /* What the schema can't say, and what must hold even for who skips it. */ -}}
{{- define "closeout.check" -}}
{{- if not (has .Values.environment (list "sandbox" "live")) }}{{ fail "environment must be sandbox or live: it decides at which broker accounts are closed, and has no default" }}{{ end }}
{{- if not .Values.secret.name }}{{ fail "secret.name must name a Secret that exists: NOTES and docs/deploy.md say what it holds" }}{{ end }}
{{- if lt (int .Values.worker.replicas) 1 }}{{ fail "worker.replicas must be 1 or more: what sleeps in Redis is woken by a worker, and nothing else would ask for one" }}{{ end }}
{{- with .Values.autoscaling }}
{{- if lt (int .minReplicas) 1 }}{{ fail "autoscaling.minReplicas must be 1 or more: what sleeps in Redis is woken by a worker, and nothing that sleeps makes KEDA start one" }}{{ end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail (printf "autoscaling.minReplicas (%d) is above autoscaling.maxReplicas (%d)" (int .minReplicas) (int .maxReplicas)) }}{{ end }}
{{- if and .enabled (not .prometheusAddress) }}{{ fail "autoscaling.prometheusAddress must be given: KEDA asks Prometheus what is due" }}{{ end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}{{ fail "ingress.host must be given" }}{{ end }}
{{- if and .Values.ingress.enabled (get .Values.settings "CLOSEOUT_PUBLIC_URL") }}{{ fail "settings.CLOSEOUT_PUBLIC_URL is given, and so is ingress.host, which makes it: give one of them" }}{{ end }}
{{- if and (contains "CLOSEOUT_OPERATORS" (include "closeout.secrets" (dict "root" . "component" "server"))) (not .Values.ingress.enabled) (not (get .Values.settings "CLOSEOUT_PUBLIC_URL")) }}{{ fail "settings.CLOSEOUT_PUBLIC_URL must be given where people sign in and ingress is not enabled" }}{{ end }}
{{- end }}
