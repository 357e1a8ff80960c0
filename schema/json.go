package schema

// readJSON parses a file with one JSON value. JSON is read as YAML is, of
// which it is a part.
func readJSON(content []byte) ([]*node, []syntaxError) { return readYAML(content) }
