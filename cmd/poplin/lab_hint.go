//go:build linux

package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
	"github.com/poplin-net/poplin/schema"
)

// labServices are the documents of a lab as hints need them.
type labServices struct{ config *schema.Config }

// hints gives commands that show the tree's services at work: one from
// outside through a node port, one from a pod through a cluster IP.
func (s labServices) hints(l lab.Lab, prefix string) []string {
	if s.config == nil || len(l.Nodes()) == 0 || len(l.Nodes()[0].Addresses) == 0 {
		return nil
	}
	var out []string
	node := l.Nodes()[0]
	for _, svc := range s.config.Services {
		for _, p := range svc.Ports {
			if p.NodePort != 0 && p.Protocol == schema.TCP {
				target := net.JoinHostPort(node.Addresses[0].String(), strconv.Itoa(int(p.NodePort)))
				out = append(out, fmt.Sprintf("%sclient -- curl -s http://%s/", prefix, target))
				return append(out, s.podHint(svc, p, prefix)...)
			}
		}
	}
	return out
}

func (s labServices) podHint(svc *schema.Service, p schema.ServicePort, prefix string) []string {
	for _, pod := range s.config.Pods {
		if !pod.HostNetwork && len(svc.ClusterIPs) > 0 {
			target := net.JoinHostPort(svc.ClusterIPs[0].String(), strconv.Itoa(int(p.Port)))
			if p.Port == 80 {
				target = strings.TrimSuffix(target, ":80")
			}
			return []string{fmt.Sprintf("%s%s --pod %s -- curl -s http://%s/", prefix, pod.NodeName, pod.Name, target)}
		}
	}
	return nil
}
