{{/*
Names are fixed, not derived from the release: the API group, the policies and the agents' accounts are
known to the whole cluster by these names, and one cluster has room for one installation.
*/}}

{{/* The user names by which the API server knows the operator and the agents' group. */}}
{{- define "scope-plugins.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:scope-operator
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

{{/* What the operator's pods and the clean-up pod have in common: where they run and as whom. */}}
{{- define "scope-plugins.operatorPlacement" -}}
{{- with .Values.operator.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- toYaml (merge (dict "kubernetes.io/os" "linux") (.Values.operator.nodeSelector | default dict)) | nindent 2 }}
{{- with .Values.operator.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
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
