{{/* The name of everything in the release. */}}
{{- define "livepeer.fullname" -}}
{{- if contains "livepeer-operator" .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Selects the operator's pods; NetworkPolicies of nodes let these pods in. */}}
{{- define "livepeer.selector" -}}
app.kubernetes.io/name: livepeer-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "livepeer.labels" -}}
{{ include "livepeer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What the operator may do where it looks after resources. */}}
{{- define "livepeer.rules" -}}
- apiGroups: [livepeer.org]
  resources: [orchestrators, transcoderpools, gateways]
  verbs: [get, list, watch]
- apiGroups: [livepeer.org]
  resources: [orchestrators/status, transcoderpools/status, gateways/status]
  verbs: [patch]
# owner references that block deletion need it where that admission plugin is on
- apiGroups: [livepeer.org]
  resources: [orchestrators/finalizers, transcoderpools/finalizers, gateways/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, secrets, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# an annotation makes the kubelet sync mounted files at once; rehearsals come and go
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# is the namespace being deleted?
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
