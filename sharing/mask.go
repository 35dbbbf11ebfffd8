package sharing

// Mask says which entries of shared tensors a modality uses.
type Mask struct {
	Kind string `json:"kind"`
}

func (x *Mask) validate(_ *Config) error { return nil }

// String describes the block in a few words.
func (x *Mask) String() string { return "mask " + x.Kind }
