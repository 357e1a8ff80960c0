package daemon

import (
	"errors"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/nft"
	"github.com/poplin-net/poplin/schema"
)

const explainedText = rosterText + podText + `---
apiVersion: v1
kind: Pod
metadata: {name: labelled, labels: {app: web}}
spec: {nodeName: node-1, containers: [{ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.20, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: other}
spec: {clusterIP: None, selector: {app: none}}
`

// explained is the account of a round over explainedText.
func explained(t *testing.T) accountState {
	t.Helper()
	f := factsOf(t, explainedText, overlay.Snapshot{Joined: true})
	f.standing = map[string]bool{"default_labelled": true}
	return accountState{facts: f, goal: reach(f, compile.New())}
}

func TestExplainService(t *testing.T) {
	a := explained(t)
	web := schema.Name{Namespace: "default", Name: "web"}
	// The kernel has all but one element; that is not the same as all.
	observed := a.goal.State.Only(func(o reconciler.Object) bool {
		e, ok := o.(reconciler.Element)
		return !ok || e.Set != reconciler.SetNodePorts
	})
	counts := map[reconciler.ElementKey]nft.Count{
		{Family: reconciler.IPv4, Set: reconciler.SetNodePortTraffic, Protocol: reconciler.TCP, Port: 30080}:     {Packets: 7, Bytes: 700},
		{Family: reconciler.IPv4, Set: reconciler.SetNodePortConnections, Protocol: reconciler.TCP, Port: 30080}: {Packets: 1, Bytes: 60},
	}
	got, err := explainService(a, web, observed, counts)
	if err != nil {
		t.Fatal(err)
	}
	if got.Origin.File != "all.yaml" || got.Origin.Line == 0 || got.Node != "node-1" || len(got.Ports) != 1 {
		t.Errorf("%+v", got)
	}
	port := got.Ports[0]
	if len(port.Frontends) != 2 || port.Frontends[0].Counters != nil || *port.Frontends[1].Counters != (api.Counters{Connections: 1, Packets: 7, Bytes: 700}) {
		t.Errorf("%+v", port.Frontends)
	}
	if len(port.Endpoints) != 1 || !port.Endpoints[0].In || port.Endpoints[0].Pod != "default/labelled" || port.Endpoints[0].Slots != 1 {
		t.Errorf("%+v", port.Endpoints)
	}
	chains, missing := 0, 0
	for _, e := range got.Elements {
		if strings.HasPrefix(e.Text, "chain ") {
			chains++
		}
		if !e.InKernel {
			missing++
			if e.Text != "element ip poplin node-ports { tcp . 30080 : goto node-port-pick-1 }" {
				t.Error(e.Text)
			}
		}
	}
	if chains != 2 || missing != 1 {
		t.Errorf("%d chains, %d missing: %v", chains, missing, got.Elements)
	}
}

func TestExplainServicesWithoutFrontends(t *testing.T) {
	a := explained(t)
	for name, note := range map[schema.Name]string{
		{Namespace: "default", Name: "outside"}: "stands for the name example.org",
		{Namespace: "other", Name: "headless"}:  "headless",
	} {
		got, err := explainService(a, name, a.goal.State, nil)
		if err != nil || len(got.Notes) != 1 || !strings.HasPrefix(got.Notes[0], note) || len(got.Elements) > 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestExplainNamesServicesThatCouldBeMeant(t *testing.T) {
	a := explained(t)
	for name, want := range map[schema.Name]string{
		{Namespace: "default", Name: "wep"}:      `there is no service default/wep; did you mean "default/web"?`,
		{Namespace: "default", Name: "headless"}: `there is no service default/headless; did you mean "other/headless"?`,
		{Namespace: "default", Name: "zzzzzz"}:   "there is no service default/zzzzzz",
	} {
		_, err := explainService(a, name, a.goal.State, nil)
		var unknown *api.UnknownError
		if !errors.As(err, &unknown) || err.Error() != want {
			t.Errorf("%v, not %s", err, want)
		}
	}
}

// Every frontend that is resolved has the elements that count for it.
func TestEveryFrontendIsCounted(t *testing.T) {
	a := explained(t)
	there := map[reconciler.Key]bool{}
	for _, o := range a.goal.State.Objects() {
		there[o.Key()] = true
	}
	frontends := 0
	for _, s := range a.goal.Services {
		for _, f := range s.Frontends {
			frontends++
			traffic, connections := counterKeys(f)
			if !there[traffic] || !there[connections] {
				t.Errorf("%s %+v has no counters", s.Document.Meta.Name, f)
			}
		}
	}
	if frontends == 0 {
		t.Error("no frontends")
	}
}
