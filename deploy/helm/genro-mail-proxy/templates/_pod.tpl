{{/* The pod of both Deployments, given as (dict "root" $ "component" "api" "values" .Values.api). */}}
{{- define "mail-proxy.pod" -}}
metadata:
  labels:
    {{- include "mail-proxy.selector" . | nindent 4 }}
  annotations:
    # New settings are new pods.
    checksum/settings: {{ .root.Values.settings | toJson | sha256sum }}
    {{- with .values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  enableServiceLinks: false
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "mail-proxy.selector" . | nindent 10 }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: mail-proxy
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      env:
        - name: GMP_ROLE
          value: {{ .component }}
        - name: GMP_DB_PATH_FILE
          value: /run/secrets/mail-proxy/database-url
        - name: GMP_ENCRYPTION_KEY_FILE
          value: /run/secrets/mail-proxy/encryption-key
        - name: GMP_API_TOKEN_FILE
          value: /run/secrets/mail-proxy/api-token
        - name: GMP_METRICS_TOKEN_FILE
          value: /run/secrets/mail-proxy/metrics-token
      envFrom:
        - configMapRef:
            name: {{ include "mail-proxy.name" .root }}
      ports:
        - name: http
          containerPort: 8000
      # Ten minutes: it does not listen before the database is there and its schema is up to date, and a migration that is
      # killed halfway begins anew.
      startupProbe:
        httpGet:
          path: /health
          port: http
        periodSeconds: 5
        failureThreshold: 120
      readinessProbe:
        httpGet:
          path: /ready
          port: http
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      # Touches no database: one that is away is waited for, and a restart would not bring it back.
      livenessProbe:
        httpGet:
          path: /health
          port: http
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- if eq .component "api" }}
      # Until every proxy has heard that this pod goes: then nobody meets its 503.
      lifecycle:
        preStop:
          exec:
            command: [sleep, "5"]
      {{- end }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: data
          mountPath: /data
        - name: secrets
          mountPath: /run/secrets/mail-proxy
          readOnly: true
  volumes:
    - name: data
      emptyDir:
        sizeLimit: {{ .root.Values.dataSizeLimit }}
    - name: secrets
      secret:
        secretName: {{ .root.Values.existingSecret }}
        # 0440, which YAML 1.1 and 1.2 read differently.
        defaultMode: 288
{{- end -}}
