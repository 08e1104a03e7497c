{{/* The release's name for its objects */}}
{{- define "rootpin.name" -}}
{{- if contains "rootpin" .Release.Name }}{{ .Release.Name | trunc 44 | trimSuffix "-" }}{{ else }}{{ printf "%s-rootpin" (.Release.Name | trunc 36 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "rootpin.selector" -}}
app.kubernetes.io/name: rootpin
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rootpin.labels" -}}
{{ include "rootpin.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "rootpin.image" -}}
{{- if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else if .Values.image.allowTag }}{{ printf "%s:%s" .Values.image.repository .Values.image.tag }}
{{- else }}{{ fail "image.digest is missing" }}{{ end }}
{{- end }}

{{/* A key of a ConfigMap for a file's name */}}
{{- define "rootpin.key" -}}
{{- replace "/" "__" . }}
{{- end }}

{{/* Of the container that changes the node */}}
{{- define "rootpin.node" -}}
image: {{ include "rootpin.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
resources: {{- toYaml .Values.resources | nindent 2 }}
env:
  - {name: HOST, value: /host}
  - {name: PREFIX, value: {{ .Values.host.prefix | quote }}}
  - {name: PLATFORM, value: {{ .Values.host.platform | quote }}}
  - {name: UNIT, value: {{ .Values.host.restartUnit | quote }}}
  - {name: WAIT, value: {{ .Values.host.waitSeconds | quote }}}
  - {name: PROVEN, value: /proven/node}
{{- end }}

{{- define "rootpin.restricted" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The token of the API server, for the one container that speaks with it */}}
{{- define "rootpin.token" -}}
- name: token
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}

{{/* The values' affinity, and no node that is none: each of its terms is one by itself, so each gets the two conditions */}}
{{- define "rootpin.affinity" -}}
{{- $real := list
  (dict "key" "eks.amazonaws.com/compute-type" "operator" "NotIn" "values" (list "fargate"))
  (dict "key" "type" "operator" "NotIn" "values" (list "virtual-kubelet")) }}
{{- $affinity := deepCopy .Values.affinity }}
{{- $node := get $affinity "nodeAffinity" | default dict }}
{{- $required := get $node "requiredDuringSchedulingIgnoredDuringExecution" | default dict }}
{{- $terms := list }}
{{- range get $required "nodeSelectorTerms" | default (list (dict "matchExpressions" list "ours" true)) }}
{{- if or (get . "matchExpressions") (get . "matchFields") (get . "ours") }}
{{- $terms = append $terms (merge (dict "matchExpressions" (concat (get . "matchExpressions" | default list) $real)) (omit . "ours")) }}
{{- else }}
{{- /* without conditions a term fits no node, and must not fit all with ours */}}
{{- $terms = append $terms . }}
{{- end }}
{{- end }}
{{- $_ := set $required "nodeSelectorTerms" $terms }}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" $required }}
{{- $_ := set $affinity "nodeAffinity" $node }}
{{- toYaml $affinity }}
{{- end }}
