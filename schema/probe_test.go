package schema_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/poplin-net/poplin/schema"
)

// TestProbes: what is written, and Kubernetes' defaults for what is not.
func TestProbes(t *testing.T) {
	config, diagnostics := newParser(t).Parse([]schema.File{
		{Path: "cluster.yaml", Content: []byte(base)},
		{Path: "pod.yaml", Content: []byte(`apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  nodeName: node-1
  containers:
  - ports: [{name: http, containerPort: 8080}]
    readinessProbe:
      httpGet: {port: http, path: healthz, scheme: HTTPS, host: 127.0.0.1, httpHeaders: [{name: Host, value: example.com}]}
      initialDelaySeconds: 5
      periodSeconds: 2
      timeoutSeconds: 3
      successThreshold: 4
      failureThreshold: 6
  - {name: no-probe}
  - readinessProbe: {tcpSocket: {port: 81, host: localhost}, periodSeconds: 0}
  - readinessProbe: {exec: {command: [test, -e, /run/ready]}}
  - readinessProbe: {httpGet: {port: 80}}
`)},
	})
	if config == nil {
		t.Fatal(diagnostics)
	}
	defaults := schema.Probe{Period: 10 * time.Second, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 3}
	socket, command, get := defaults, defaults, defaults
	socket.TCP = &schema.TCPProbe{Host: netip.MustParseAddr("127.0.0.1"), Port: 81}
	command.Exec = []string{"test", "-e", "/run/ready"}
	get.HTTP = &schema.HTTPProbe{Port: 80, Path: "/"}
	want := []schema.Probe{{
		HTTP: &schema.HTTPProbe{
			Host: netip.MustParseAddr("127.0.0.1"), Port: 8080, Path: "/healthz", TLS: true,
			Headers: []schema.Header{{Name: "Host", Value: "example.com"}},
		},
		InitialDelay: 5 * time.Second, Period: 2 * time.Second, Timeout: 3 * time.Second, SuccessThreshold: 4, FailureThreshold: 6,
	}, socket, command, get}
	if diff := cmp.Diff(want, config.Pods[0].Probes, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}
