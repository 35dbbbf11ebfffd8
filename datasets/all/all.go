// Package all registers the built-in datasets. A program imports it for that
// effect.
package all

import _ "github.com/onetrunk/onetrunk/datasets/demo"
