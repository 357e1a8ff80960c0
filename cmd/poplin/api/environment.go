package api

// Environment holds the environment variables of a namespace.
type Environment struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"` // Environment
	Namespace  string     `json:"namespace"`
	Variables  []Variable `json:"variables"`
}

// Variable is an environment variable.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
