{{/*
Names are fixed, not derived from the release: the API group, the policies and the agents' accounts are
known to the whole cluster by these names, and one cluster has room for one installation.
*/}}

{{/* The user names by which the API server knows the operator, scope-totals and the agents' group. */}}
{{- define "scope-plugins.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:scope-operator
{{- end }}

{{- define "scope-plugins.totalsUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:scope-totals
{{- end }}

{{- define "scope-plugins.agentsGroup" -}}
system:serviceaccounts:{{ include "scope-plugins.namespace" . }}
{{- end }}

{{/*
The plugins' namespace. The policies refuse every Deployment and every foreign pod in it, so the
operator itself cannot live there.
*/}}
{{- define "scope-plugins.namespace" -}}
{{- $name := .Values.pluginsNamespace.name -}}
{{- if eq $name .Release.Namespace -}}
{{- fail (printf "pluginsNamespace.name is %q, which is the release's own namespace: the plugins need a namespace of their own; install the release into another one (--namespace scope-system --create-namespace) or change pluginsNamespace.name" $name) -}}
{{- end -}}
{{- if or (eq $name "default") (hasPrefix "kube-" $name) -}}
{{- fail (printf "pluginsNamespace.name is %q: the admission policies would close that namespace to all other workloads; name one that holds nothing else" $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* Labels of one object: (list $ "name of the part"). */}}
{{- define "scope-plugins.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/name" (index . 1)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/part-of" "scope-plugins"
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_"))
-}}
{{- toYaml (merge $own $root.Values.extraLabels) -}}
{{- end }}

{{/* The same with labels of the object's own: (list $ "name of the part" labels). */}}
{{- define "scope-plugins.labelsAnd" -}}
{{- toYaml (merge (include "scope-plugins.labels" (list (index . 0) (index . 1)) | fromYaml) (index . 2 | default dict)) -}}
{{- end }}

{{/* What the Deployment, its spread and its budget find the operator's pods by. It never changes. */}}
{{- define "scope-plugins.operatorSelector" -}}
app.kubernetes.io/name: scope-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The same for the pods of scope-totals. */}}
{{- define "scope-plugins.totalsSelector" -}}
app.kubernetes.io/name: scope-totals
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* An image reference: (list $ image). */}}
{{- define "scope-plugins.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What all pods of the operator's image have in common: (list $ values), of which the latter say where they run. */}}
{{- define "scope-plugins.placement" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- with $root.Values.operator.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- toYaml (merge (dict "kubernetes.io/os" "linux") ($values.nodeSelector | default dict)) | nindent 2 }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the operator's pods, that of the test and that of the clean-up have in common: where they run and as whom. */}}
{{- define "scope-plugins.operatorPlacement" -}}
{{- include "scope-plugins.placement" (list . .Values.operator) | trim }}
securityContext:
  {{- include "scope-plugins.podSecurity" . | nindent 2 }}
{{- end }}

{{/* How replicas keep apart: (list values selector). */}}
{{- define "scope-plugins.spread" -}}
{{- $values := index . 0 -}}
{{- $counted := dict "matchLabels" (index . 1) -}}
topologySpreadConstraints:
  {{- range $values.topologySpreadConstraints }}
  {{- if hasKey . "labelSelector" }}
  - {{- toYaml . | nindent 4 }}
  {{- else }}
  - {{- toYaml (merge (dict "labelSelector" $counted "matchLabelKeys" (list "pod-template-hash")) .) | nindent 4 }}
  {{- end }}
  {{- else }}
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    # A cluster of one node still gets all replicas.
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      {{- toYaml $counted | nindent 6 }}
    # The pods of the version before do not count during an upgrade.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- $affinity := deepCopy ($values.affinity | default dict) }}
{{- if not (or $values.topologySpreadConstraints (hasKey $affinity "podAntiAffinity")) }}
{{- /* Not by a second constraint: the scheduler ignores all of them on nodes that lack one's label. */}}
{{- $term := dict "topologyKey" "topology.kubernetes.io/zone" "labelSelector" $counted "matchLabelKeys" (list "pod-template-hash") }}
{{- $preferred := list (dict "weight" 100 "podAffinityTerm" $term) }}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $preferred) }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "scope-plugins.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "scope-plugins.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
