package discovery

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/poplin-net/poplin/schema"
)

// Variable is an environment variable.
type Variable struct{ Name, Value string }

// Environment lists the variables that tell a program of the services of its
// namespace: kubelet's (FromServices in pkg/kubelet/envvars), which holds
// those of docker's links. The services are of one namespace, in the order of
// their names; those without a cluster IP have no variables. Where two
// services ask for one name, the last one has it, as with any assignment.
func Environment(list []*schema.Service) []Variable {
	out := make([]Variable, 0, 8*len(list))
	clash := false
	for _, s := range list {
		if len(s.ClusterIPs) > 0 {
			out = appendVariables(out, s)
			clash = clash || mayClash(s.Name.Name)
		}
	}
	if !clash {
		return out
	}
	place := make(map[string]int, len(out))
	distinct := out[:0]
	for _, v := range out {
		if i, twice := place[v.Name]; twice {
			distinct[i] = v
			continue
		}
		place[v.Name] = len(distinct)
		distinct = append(distinct, v)
	}
	return distinct
}

// SameVariables reports whether a service has the variables that another one
// has, without making them.
func SameVariables(a, b *schema.Service) bool {
	return a == b || a.Meta.Name == b.Meta.Name && slices.Equal(a.ClusterIPs, b.ClusterIPs) &&
		slices.EqualFunc(a.Ports, b.Ports, func(a, b schema.ServicePort) bool {
			return a.Name == b.Name && a.Protocol == b.Protocol && a.Port == b.Port
		})
}

// mayClash reports whether the variables of a service can have names that
// another's have: its own name then continues that one's, as a suffix does.
func mayClash(name string) bool {
	return strings.Contains(name, "-service") || strings.Contains(name, "-port")
}

// appendVariables adds those of a service.
func appendVariables(out []Variable, s *schema.Service) []Variable {
	address, name := s.ClusterIPs[0], variableName(s.Name.Name)
	add := func(suffix, value string) { out = append(out, Variable{name + suffix, value}) }
	add("_SERVICE_HOST", address.String())
	if len(s.Ports) == 0 {
		return out // ranges of ports only
	}
	add("_SERVICE_PORT", strconv.Itoa(int(s.Ports[0].Port)))
	for _, p := range s.Ports {
		if p.Name != "" {
			add("_SERVICE_PORT_"+variableName(p.Name), strconv.Itoa(int(p.Port)))
		}
	}
	for i, p := range s.Ports {
		number := strconv.Itoa(int(p.Port))
		protocol := strings.ToLower(p.Protocol.String())
		where := protocol + "://" + netip.AddrPortFrom(address, p.Port).String()
		if i == 0 {
			add("_PORT", where)
		}
		prefix := "_PORT_" + number + "_" + p.Protocol.String()
		add(prefix, where)
		add(prefix+"_PROTO", protocol)
		add(prefix+"_PORT", number)
		add(prefix+"_ADDR", address.String())
	}
	return out
}

// variableName turns a name of a document into a part of a variable's.
func variableName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '.' {
			return '_'
		}
		return unicode.ToUpper(r)
	}, name)
}

// Dotenv writes variables as lines NAME=VALUE, for systemd's EnvironmentFile=
// and docker's --env-file. No value needs quotes. A name can begin with a
// digit, as the service's does; systemd says so and leaves it out.
func Dotenv(list []Variable) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(v.Name)
		b.WriteByte('=')
		b.WriteString(v.Value)
		b.WriteByte('\n')
	}
	return b.String()
}

// Shell writes variables as commands for sh(1) to eval. Names that no shell
// knows are comments.
func Shell(list []Variable) string {
	var b strings.Builder
	for _, v := range list {
		if first := v.Name[0]; '0' <= first && first <= '9' {
			b.WriteString("# no name for a shell: ")
		}
		b.WriteString("export " + v.Name + "='" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'\n")
	}
	return b.String()
}
