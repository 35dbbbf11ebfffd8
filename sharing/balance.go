package sharing

// Balance makes one update of the losses of the pairs.
type Balance struct {
	Kind string `json:"kind"`
}

func (x *Balance) validate(_ *Config) error { return nil }

// String describes the block in a few words.
func (x *Balance) String() string { return "balance " + x.Kind }

// Adapt gives layers private tensors while they train.
type Adapt struct {
	Kind string `json:"kind"`
}

func (x *Adapt) validate(_ *Config) error { return nil }

// String describes the block in a few words.
func (x *Adapt) String() string { return "adapt " + x.Kind }
