// Package all registers the built-in modalities. A program imports it for
// that effect; a new modality adds a line here.
package all

import (
	_ "github.com/onetrunk/onetrunk/modalities/audio"
	_ "github.com/onetrunk/onetrunk/modalities/image"
	_ "github.com/onetrunk/onetrunk/modalities/text"
)
