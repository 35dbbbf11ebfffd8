package tokenizers

import "fmt"

// Patchify cuts planes of pixels [C, H, W] into square patches, left to right
// and top to bottom. A patch is flattened as [C, P, P], the order of a
// convolution's weight, so that a convolution whose stride is its size equals
// a linear map of the rows. It panics unless P divides H and W.
func Patchify(planes []float32, channels, height, width, patch int) Tokens {
	if height%patch != 0 || width%patch != 0 || len(planes) != channels*height*width {
		panic(fmt.Sprintf("tokenizers: %d values of [%d, %d, %d] in patches of %d", len(planes), channels, height, width, patch))
	}
	t := Tokens{
		Patches: make([]float32, 0, len(planes)),
		Grid:    [2]int{height / patch, width / patch},
	}
	for y := 0; y < height; y += patch {
		for x := 0; x < width; x += patch {
			for c := range channels {
				for dy := range patch {
					at := (c*height+y+dy)*width + x
					t.Patches = append(t.Patches, planes[at:at+patch]...)
				}
			}
		}
	}
	return t
}
