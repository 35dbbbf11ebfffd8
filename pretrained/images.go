package pretrained

import (
	"encoding/json"
	"fmt"
)

// imageInput is what we set of the image modality's "input" block.
type imageInput struct {
	Size   int        `json:"size"`
	Patch  int        `json:"patch"`
	Resize int        `json:"resize,omitempty"`
	Fit    string     `json:"fit"`
	Filter string     `json:"filter"`
	Alpha  string     `json:"alpha"`
	Mean   [3]float64 `json:"mean"`
	Std    [3]float64 `json:"std"`
}

// The means and standard deviations that libraries normalise by.
var (
	clipMean = [3]float64{0.48145466, 0.4578275, 0.40821073}
	clipStd  = [3]float64{0.26862954, 0.26130258, 0.27577711}
	half     = [3]float64{0.5, 0.5, 0.5}
)

// side is a size in a preprocessor_config.json: a number, or an object.
type side struct {
	Shortest, Height, Width int
}

func (s *side) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &s.Shortest) == nil {
		return nil
	}
	var o struct {
		Shortest int `json:"shortest_edge"`
		Height   int `json:"height"`
		Width    int `json:"width"`
	}
	err := json.Unmarshal(data, &o)
	*s = side{o.Shortest, o.Height, o.Width}
	return err
}

// square returns the side of the square that the size is, or 0.
func (s *side) square() int {
	if s.Height == s.Width && s.Height > 0 {
		return s.Height
	}
	return s.Shortest
}

// processor is a preprocessor_config.json for images.
type processor struct {
	Resize     *bool       `json:"do_resize"`
	Size       side        `json:"size"`
	Resample   int         `json:"resample"`
	CenterCrop *bool       `json:"do_center_crop"`
	CropSize   side        `json:"crop_size"`
	Rescale    *bool       `json:"do_rescale"`
	Factor     float64     `json:"rescale_factor"`
	Normalize  *bool       `json:"do_normalize"`
	Mean       *[3]float64 `json:"image_mean"`
	Std        *[3]float64 `json:"image_std"`
}

// pillow names Pillow's resampling filters that we have.
var pillow = map[int]string{1: "lanczos", 2: "bilinear", 3: "bicubic"}

// input turns a preprocessor_config.json, whose defaults p holds, into our
// settings for a model that sees squares of size by patches.
func (p processor) input(dir string, size, patch int) (imageInput, error) {
	const name = "preprocessor_config.json"
	if _, err := readJSON(dir, name, &p); err != nil {
		return imageInput{}, err
	}
	in := imageInput{Size: size, Patch: patch, Alpha: "drop", Mean: *p.Mean, Std: *p.Std}
	wrong := func(key string, found any) error {
		return fmt.Errorf("%s: %s %v is not supported", name, key, found)
	}
	var ok bool
	if in.Filter, ok = pillow[p.Resample]; !ok {
		return in, wrong("resample", p.Resample)
	}
	switch {
	case !*p.Resize:
		return in, wrong("do_resize", false)
	case !*p.Rescale || p.Factor < 1/255.001 || p.Factor > 1/254.999:
		return in, wrong("rescale_factor", p.Factor)
	}
	if !*p.Normalize {
		in.Mean, in.Std = [3]float64{}, [3]float64{1, 1, 1}
	}
	switch {
	case p.Size.Height > 0 && !*p.CenterCrop:
		if p.Size.square() != size {
			return in, fmt.Errorf("%s: size %d x %d, but the model sees %d", name, p.Size.Height, p.Size.Width, size)
		}
		in.Fit = "squash"
	case *p.CenterCrop && p.CropSize.square() == size && p.Size.Shortest > 0:
		in.Fit = "crop"
		if p.Size.Shortest != size {
			in.Resize = p.Size.Shortest
		}
	default:
		return in, fmt.Errorf("%s: size %+v and crop_size %+v (do_center_crop %t) do not give squares of %d", name, p.Size, p.CropSize, *p.CenterCrop, size)
	}
	return in, nil
}

// defaults of preprocessor_config.json.
func processing(resample int, size side, crop bool, mean, std [3]float64) processor {
	yes := true
	return processor{
		Resize: &yes, Size: size, Resample: resample, CenterCrop: &crop, CropSize: size,
		Rescale: &yes, Factor: 1.0 / 255, Normalize: &yes, Mean: &mean, Std: &std,
	}
}
