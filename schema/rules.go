package schema

func (t *tree) rules() {}
