package schema

// The structs below mirror the documents: what the JSON Schema calls
// supported, and no more. Pointers are there where missing and zero differ.

// metadata is that of every kind.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type clusterDocument struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   metadata    `json:"metadata"`
	Spec       clusterSpec `json:"spec"`
}

type clusterSpec struct {
	PodCIDRs     []string `json:"podCIDRs"`
	ServiceCIDRs []string `json:"serviceCIDRs"`
	SubnetLength struct {
		IPv4 int `json:"ipv4"`
		IPv6 int `json:"ipv6"`
	} `json:"subnetLength"`
	SubnetRetention    string         `json:"subnetRetention"`
	Overlay            overlaySpec    `json:"overlay"`
	Masquerade         masqueradeSpec `json:"masquerade"`
	DNS                dnsSpec        `json:"dns"`
	NodePortRange      string         `json:"nodePortRange"`
	NodePortAddresses  []string       `json:"nodePortAddresses"`
	LocalhostNodePorts bool           `json:"localhostNodePorts"`
	ExternalIPCIDRs    []string       `json:"externalIPCIDRs"`
	LoadBalancerCIDRs  []string       `json:"loadBalancerCIDRs"`
	Gossip             gossipSpec     `json:"gossip"`
	RemovalLimit       intOrString    `json:"removalLimit"`
	IgnoreKinds        []string       `json:"ignoreKinds"`
}

type overlaySpec struct {
	Backend         string `json:"backend"`
	Port            int    `json:"port"`
	VNI             int    `json:"vni"`
	DirectRouting   bool   `json:"directRouting"`
	MTU             int    `json:"mtu"`
	UnderlayFamily  string `json:"underlayFamily"`
	ChecksumOffload string `json:"checksumOffload"`
	Keepalive       string `json:"keepalive"`
}

type masqueradeSpec struct {
	Enabled bool     `json:"enabled"`
	Exclude []string `json:"exclude"`
}

type dnsSpec struct {
	Enabled   bool     `json:"enabled"`
	Domain    string   `json:"domain"`
	Addresses []string `json:"addresses"`
	Upstreams []string `json:"upstreams"`
	NDots     int      `json:"ndots"`
	AllowFrom []string `json:"allowFrom"`
}

type gossipSpec struct {
	Port         int      `json:"port"`
	Profile      string   `json:"profile"`
	Encryption   string   `json:"encryption"`
	AllowedCIDRs []string `json:"allowedCIDRs"`
}

type subnetDocument struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       struct {
		CIDRs      []string `json:"cidrs"`
		Node       string   `json:"node"`
		Gateways   []string `json:"gateways"`
		Reserved   []string `json:"reserved"`
		Bridge     string   `json:"bridge"`
		MTU        int      `json:"mtu"`
		Masquerade *bool    `json:"masquerade"`
	} `json:"spec"`
}

type nodeDocument struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       struct {
		Addresses []string `json:"addresses"`
		Advertise string   `json:"advertise"`
		MTU       int      `json:"mtu"`
		Drain     bool     `json:"drain"`
		External  bool     `json:"external"`
		VTEPMAC   string   `json:"vtepMAC"`
		PublicKey string   `json:"publicKey"`
	} `json:"spec"`
}

type podDocument struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       podSpec  `json:"spec"`
}

type podSpec struct {
	NodeName        string          `json:"nodeName"`
	HostNetwork     bool            `json:"hostNetwork"`
	Hostname        string          `json:"hostname"`
	Subdomain       string          `json:"subdomain"`
	DNSPolicy       string          `json:"dnsPolicy"`
	DNSConfig       dnsConfigSpec   `json:"dnsConfig"`
	Containers      []containerSpec `json:"containers"`
	SecurityContext struct {
		Sysctls []sysctlSpec `json:"sysctls"`
	} `json:"securityContext"`
}

type dnsConfigSpec struct {
	Nameservers []string `json:"nameservers"`
	Searches    []string `json:"searches"`
	Options     []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"options"`
}

type containerSpec struct {
	Ports []struct {
		Name          string `json:"name"`
		ContainerPort int    `json:"containerPort"`
		Protocol      string `json:"protocol"`
	} `json:"ports"`
	ReadinessProbe *probeSpec `json:"readinessProbe"`
}

type probeSpec struct {
	TCPSocket *struct {
		Host string      `json:"host"`
		Port intOrString `json:"port"`
	} `json:"tcpSocket"`
	HTTPGet *struct {
		Host        string       `json:"host"`
		Port        intOrString  `json:"port"`
		Path        string       `json:"path"`
		Scheme      string       `json:"scheme"`
		HTTPHeaders []headerSpec `json:"httpHeaders"`
	} `json:"httpGet"`
	Exec *struct {
		Command []string `json:"command"`
	} `json:"exec"`
	InitialDelaySeconds int `json:"initialDelaySeconds"`
	PeriodSeconds       int `json:"periodSeconds"`
	TimeoutSeconds      int `json:"timeoutSeconds"`
	SuccessThreshold    int `json:"successThreshold"`
	FailureThreshold    int `json:"failureThreshold"`
}

type headerSpec struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type sysctlSpec struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type serviceDocument struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   metadata    `json:"metadata"`
	Spec       serviceSpec `json:"spec"`
	Status     struct {
		LoadBalancer struct {
			Ingress []ingressSpec `json:"ingress"`
		} `json:"loadBalancer"`
	} `json:"status"`
}

type ingressSpec struct {
	IP     string `json:"ip"`
	IPMode string `json:"ipMode"`
}

type serviceSpec struct {
	Type                     string            `json:"type"`
	ClusterIP                string            `json:"clusterIP"`
	ClusterIPs               []string          `json:"clusterIPs"`
	IPFamilies               []string          `json:"ipFamilies"`
	IPFamilyPolicy           string            `json:"ipFamilyPolicy"`
	Selector                 map[string]string `json:"selector"`
	Ports                    []servicePortSpec `json:"ports"`
	PublishNotReadyAddresses bool              `json:"publishNotReadyAddresses"`
	InternalTrafficPolicy    string            `json:"internalTrafficPolicy"`
	ExternalTrafficPolicy    string            `json:"externalTrafficPolicy"`
	SessionAffinity          string            `json:"sessionAffinity"`
	AffinityConfig           *affinityConfig   `json:"sessionAffinityConfig"`
	TrafficDistribution      string            `json:"trafficDistribution"`
	ExternalName             string            `json:"externalName"`
	HealthCheckNodePort      int               `json:"healthCheckNodePort"`
	ExternalIPs              []string          `json:"externalIPs"`
	LoadBalancerIP           string            `json:"loadBalancerIP"`
	LoadBalancerSourceRanges []string          `json:"loadBalancerSourceRanges"`
	LoadBalancerClass        string            `json:"loadBalancerClass"`
	AllocateNodePorts        *bool             `json:"allocateLoadBalancerNodePorts"`
}

type affinityConfig struct {
	ClientIP struct {
		TimeoutSeconds int `json:"timeoutSeconds"`
	} `json:"clientIP"`
}

type servicePortSpec struct {
	Name       string      `json:"name"`
	Protocol   string      `json:"protocol"`
	Port       int         `json:"port"`
	TargetPort intOrString `json:"targetPort"`
	NodePort   int         `json:"nodePort"`
}

type sliceDocument struct {
	APIVersion  string              `json:"apiVersion"`
	Kind        string              `json:"kind"`
	Metadata    metadata            `json:"metadata"`
	AddressType string              `json:"addressType"`
	Ports       []slicePortSpec     `json:"ports"`
	Endpoints   []sliceEndpointSpec `json:"endpoints"`
}

type slicePortSpec struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     int    `json:"port"`
}

type sliceEndpointSpec struct {
	Addresses  []string `json:"addresses"`
	Conditions struct {
		Ready       *bool `json:"ready"`
		Serving     *bool `json:"serving"`
		Terminating bool  `json:"terminating"`
	} `json:"conditions"`
	Hostname string `json:"hostname"`
	NodeName string `json:"nodeName"`
	Zone     string `json:"zone"`
}

type endpointsDocument struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Metadata   metadata     `json:"metadata"`
	Subsets    []subsetSpec `json:"subsets"`
}

type subsetSpec struct {
	Addresses         []endpointAddressSpec `json:"addresses"`
	NotReadyAddresses []endpointAddressSpec `json:"notReadyAddresses"`
	Ports             []slicePortSpec       `json:"ports"`
}

type endpointAddressSpec struct {
	IP       string `json:"ip"`
	Hostname string `json:"hostname"`
	NodeName string `json:"nodeName"`
}
