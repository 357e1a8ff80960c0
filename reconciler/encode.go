package reconciler

import (
	"encoding/json"
	"fmt"
)

// KeyText formats a key as the words that identify the object: its kind's
// own, then the key's fields that are set.
func KeyText(k Key) string {
	switch k := k.(type) {
	case NamespaceKey:
		return "netns " + k.Name
	case LinkKey:
		return "link " + inNetns(k.Netns) + k.Name
	case SysctlKey:
		return "sysctl " + inNetns(k.Netns) + k.Name
	case AddressKey:
		return Address(k).String()
	case TunnelKey:
		return "tunnel " + k.Device
	case TunnelPeerKey:
		return fmt.Sprintf("tunnel-peer %s dev %s", k.Subnet, k.Device)
	case RouteKey:
		return "route " + inNetns(k.Netns) + k.Destination.String()
	case WireGuardKey:
		return "wireguard " + k.Device
	case WireGuardPeerKey:
		return fmt.Sprintf("wireguard-peer %s dev %s", k.Subnet, k.Device)
	case NeighbourKey:
		return "neighbour " + k.Address.String() + " dev " + k.Link
	case FDBEntryKey:
		return "fdb " + k.MAC.String() + " dev " + k.Link
	case ProxyNeighbourKey:
		return ProxyNeighbour(k).String()
	case FileKey:
		return "file " + k.Path
	case TableKey:
		return fmt.Sprintf("table %s poplin", k.Family)
	case ChainKey:
		return fmt.Sprintf("chain %s poplin %s", k.Family, k.Name)
	case ElementKey:
		e := Element{Family: k.Family, Set: k.Set, Link: k.Link, Address: k.Address, Prefix: k.Prefix, Protocol: k.Protocol, Port: k.Port, LastPort: k.LastPort, Slot: k.Slot}
		return e.String()
	}
	return fmt.Sprint(k)
}

// encodedGroup and encodedObject are a state's form in a file.
type encodedGroup struct {
	Name    string          `json:"name"`
	Origin  Origin          `json:"origin"`
	Objects []encodedObject `json:"objects"`
}

type encodedObject struct {
	Kind   string          `json:"kind"`
	Object json.RawMessage `json:"object"`
}

// decoders make objects of each kind from JSON.
var decoders = map[string]func(json.RawMessage) (Object, error){
	KindNamespace.String():      decode[Namespace],
	KindLink.String():           decode[Link],
	KindSysctl.String():         decode[Sysctl],
	KindAddress.String():        decode[Address],
	KindTunnel.String():         decode[Tunnel],
	KindTunnelPeer.String():     decode[TunnelPeer],
	KindWireGuard.String():      decode[WireGuard],
	KindWireGuardPeer.String():  decode[WireGuardPeer],
	KindNeighbour.String():      decode[Neighbour],
	KindFDBEntry.String():       decode[FDBEntry],
	KindRoute.String():          decode[Route],
	KindProxyNeighbour.String(): decode[ProxyNeighbour],
	KindFile.String():           decode[File],
	KindTable.String():          decode[Table],
	KindChain.String():          decode[Chain],
	KindElement.String():        decode[Element],
}

func decode[T Object](raw json.RawMessage) (Object, error) {
	var o T
	return o, json.Unmarshal(raw, &o)
}

// MarshalJSON writes the state's groups with their objects.
func (s State) MarshalJSON() ([]byte, error) {
	groups := make([]encodedGroup, 0, len(s.groups))
	for _, g := range s.groups {
		out := encodedGroup{Name: g.Name, Origin: g.Origin, Objects: make([]encodedObject, 0, len(g.Objects))}
		for _, o := range g.Objects {
			raw, err := json.Marshal(o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o, err)
			}
			out.Objects = append(out.Objects, encodedObject{o.Kind().String(), raw})
		}
		groups = append(groups, out)
	}
	return json.Marshal(groups)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *State) UnmarshalJSON(data []byte) error {
	var encoded []encodedGroup
	if err := json.Unmarshal(data, &encoded); err != nil {
		return err
	}
	groups := make([]*Group, len(encoded))
	for i, e := range encoded {
		groups[i] = &Group{Name: e.Name, Origin: e.Origin}
		for _, object := range e.Objects {
			d, ok := decoders[object.Kind]
			if !ok {
				return fmt.Errorf("%s: unknown kind of object %q", e.Name, object.Kind)
			}
			o, err := d(object.Object)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", e.Name, object.Kind, err)
			}
			groups[i].Objects = append(groups[i].Objects, o)
		}
	}
	*s = NewState(groups...)
	return nil
}
