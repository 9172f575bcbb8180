package checks

import (
	"net/netip"
	"slices"
	"testing"

	net "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// somebody is the other end of a connection: an address outside the cluster, or a pod of a namespace.
type somebody struct {
	addr      string
	namespace string
	pod       labels.Set
}

// means says whether a policy means somebody. As on Cilium an ipBlock means no pod, which is the stricter reading.
func means(t *testing.T, peer net.NetworkPolicyPeer, who somebody) bool {
	t.Helper()
	if peer.IPBlock != nil {
		in := func(cidr string) bool {
			p, err := netip.ParsePrefix(cidr)
			if err != nil {
				t.Fatal(err)
			}
			return who.addr != "" && p.Contains(netip.MustParseAddr(who.addr))
		}
		return in(peer.IPBlock.CIDR) && !slices.ContainsFunc(peer.IPBlock.Except, in)
	}
	match := func(s *meta.LabelSelector, set labels.Set, otherwise bool) bool {
		if s == nil {
			return otherwise
		}
		sel, err := meta.LabelSelectorAsSelector(s)
		if err != nil {
			t.Fatal(err)
		}
		return sel.Matches(set)
	}
	return who.addr == "" && match(peer.NamespaceSelector, labels.Set{"kubernetes.io/metadata.name": who.namespace}, who.namespace == "money") &&
		match(peer.PodSelector, who.pod, true)
}

func through(ports []net.NetworkPolicyPort, port int) bool {
	return slices.ContainsFunc(ports, func(p net.NetworkPolicyPort) bool { return p.Port.IntValue() == port })
}

// allowed says what a component's policy lets out and in.
func allowed(t *testing.T, docs []string, component string) (out, in func(who somebody, port int) bool) {
	t.Helper()
	for _, doc := range docs {
		d, _ := decoded(t, doc)
		p, ok := d.(*net.NetworkPolicy)
		if !ok || p.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"] != component {
			continue
		}
		if len(p.Spec.PolicyTypes) != 2 {
			t.Errorf("%s: a direction is left open", component)
		}
		out = func(who somebody, port int) bool {
			return slices.ContainsFunc(p.Spec.Egress, func(r net.NetworkPolicyEgressRule) bool {
				return through(r.Ports, port) && (len(r.To) == 0 || slices.ContainsFunc(r.To, func(to net.NetworkPolicyPeer) bool { return means(t, to, who) }))
			})
		}
		in = func(who somebody, port int) bool {
			return slices.ContainsFunc(p.Spec.Ingress, func(r net.NetworkPolicyIngressRule) bool {
				return through(r.Ports, port) && (len(r.From) == 0 || slices.ContainsFunc(r.From, func(from net.NetworkPolicyPeer) bool { return means(t, from, who) }))
			})
		}
		return out, in
	}
	t.Fatalf("%s has no policy", component)
	return nil, nil
}

func TestHelmNetworkPolicies(t *testing.T) {
	least, letters, full := rendered(t, "least", ""), rendered(t, "least", "secret: {optional: [CLOSEOUT_SMTP_URL]}"), rendered(t, "full", "")
	public, private, metadata := somebody{addr: "8.8.8.8"}, somebody{addr: "10.20.1.1"}, somebody{addr: "169.254.169.254"}
	redis := somebody{namespace: "money", pod: labels.Set{"app": "redis"}}
	dns := somebody{namespace: "kube-system", pod: labels.Set{"k8s-app": "kube-dns"}}
	prometheus, nginx, stranger := somebody{namespace: "monitoring"}, somebody{namespace: "ingress-nginx"}, somebody{namespace: "default"}
	backend := somebody{namespace: "backend", pod: labels.Set{"app": "accounts"}}
	for _, c := range []struct {
		docs      []string
		component string
		out       bool
		who       somebody
		port      int
		want      bool
	}{
		{least, "worker", true, dns, 53, true},
		{least, "worker", true, public, 443, true},
		{least, "worker", true, somebody{addr: "2606:4700::1111"}, 443, true},
		{least, "worker", true, public, 80, false},
		{least, "worker", true, public, 53, false},
		{least, "worker", true, public, 6379, false},
		{least, "worker", true, public, 5432, false},
		{least, "worker", true, public, 587, false}, // there is no mail server to reach
		{least, "worker", true, private, 6379, true},
		{least, "worker", true, private, 5432, true},
		{least, "worker", true, redis, 6379, true},
		{least, "worker", true, redis, 26379, true},  // a Sentinel
		{least, "server", true, private, 6543, true}, // a pooler
		{least, "migrate", true, private, 6543, true},
		{least, "migrate", true, private, 26379, false},
		{rendered(t, "least", "networkPolicy: {postgres: {to: [{ipBlock: {cidr: 0.0.0.0/0}}]}}"), "migrate", true, public, 6543, true},
		{least, "worker", true, private, 443, false}, // Kubernetes's API
		{least, "worker", true, somebody{addr: "fd00::1"}, 443, false},
		{least, "worker", true, metadata, 443, false},
		{least, "worker", true, metadata, 80, false},
		{least, "worker", true, stranger, 443, false},
		{letters, "worker", true, public, 587, true},
		{letters, "worker", true, public, 465, true},
		{letters, "worker", true, private, 25, true},
		{letters, "server", true, public, 587, false},
		{letters, "once", true, public, 587, false},
		{least, "once", true, public, 443, true},
		{least, "once", true, private, 5432, true},
		{least, "once", true, private, 6379, true},
		{least, "once", true, metadata, 80, false},
		{full, "once", true, somebody{namespace: "tracing"}, 4318, true},
		{least, "server", true, public, 443, true},
		{least, "server", true, private, 5432, true},
		{least, "migrate", true, private, 5432, true},
		{least, "migrate", true, dns, 53, true},
		{least, "migrate", true, private, 6379, false},
		{least, "migrate", true, public, 443, false},
		{full, "migrate", true, stranger, 4318, false},
		{full, "worker", true, private, 5432, true},
		{full, "worker", true, somebody{addr: "10.21.0.1"}, 5432, false},
		{full, "worker", true, redis, 26379, true},
		{full, "worker", true, stranger, 6379, false},
		{full, "worker", true, somebody{namespace: "tracing"}, 4318, true},

		{least, "worker", false, prometheus, 8080, true},
		{least, "worker", false, nginx, 8080, false},
		{least, "worker", false, stranger, 8080, false},
		{least, "server", false, prometheus, 8000, true},
		{least, "server", false, nginx, 8000, true},
		{least, "server", false, stranger, 8000, false},
		{least, "server", false, public, 8000, false},
		{least, "server", false, backend, 8000, false},
		{full, "server", false, backend, 8000, true},
		{full, "server", false, somebody{namespace: "backend"}, 8000, false},
		{full, "worker", false, backend, 8080, false},
		{least, "migrate", false, prometheus, 8080, false},
		{least, "once", false, prometheus, 8080, false},
		{rendered(t, "least", "networkPolicy: {prometheus: []}"), "worker", false, prometheus, 8080, false},
	} {
		out, in := allowed(t, c.docs, c.component)
		does, way := in, "from"
		if c.out {
			does, way = out, "to"
		}
		if got := does(c.who, c.port); got != c.want {
			t.Errorf("%s %s %+v on %d: %v, want %v", c.component, way, c.who, c.port, got, c.want)
		}
	}
}
