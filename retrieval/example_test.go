package retrieval_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"github.com/onetrunk/onetrunk/modalities"
	_ "github.com/onetrunk/onetrunk/modalities/text"
	"github.com/onetrunk/onetrunk/model"
	"github.com/onetrunk/onetrunk/retrieval"
	"github.com/onetrunk/onetrunk/tensor"
)

// The vectors of an index may come from anywhere; a query is one of them.
func ExampleIndex_Search() {
	ix := retrieval.NewIndex(2, 0)
	err := ix.Add([]float32{
		1, 0,
		0, 1,
		0.6, 0.8,
	}, []retrieval.Entry{
		{ID: "a", Modality: "image", Path: "a.png"},
		{ID: "b", Modality: "image", Path: "b.png"},
		{ID: "c", Modality: "audio", Path: "c.wav"},
	})
	if err != nil {
		log.Fatal(err)
	}
	hits, err := ix.Search(nil, []float32{0.8, 0.6}, retrieval.Options{
		K:      2,
		Filter: func(e *retrieval.Entry) bool { return e.ID != "b" },
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range hits {
		fmt.Printf("%s %s %.2f\n", h.Modality, h.Path, h.Score)
	}
	// Output:
	// audio c.wav 0.96
	// image a.png 0.80
}

// A library embeds values with a model and finds them again. This model is
// new and knows nothing, so it finds a value by itself; model.Open("runs/demo")
// opens one that has learned to find pictures by words.
func ExampleLibrary_Search() {
	ctx := context.Background()
	config, err := model.ParseConfig("example", []byte(`{
		"trunk": {"width": 32, "layers": 1, "heads": 2, "hidden": 64, "embed": 16},
		"modalities": {"text": {"input": {"vocab": 300, "length": 32}}}
	}`))
	if err != nil {
		log.Fatal(err)
	}
	processors, err := config.OpenProcessors("")
	if err != nil {
		log.Fatal(err)
	}
	captions := []modalities.Value{"a red ring", "three blue bars", "a small green cross"}
	if err := processors["text"].(modalities.Fitter).Fit(slices.Values(captions)); err != nil {
		log.Fatal(err)
	}
	lib := retrieval.NewLibrary(model.New(config, processors, tensor.CPU(0), 1))

	err = lib.Add(ctx, "text", captions, []retrieval.Entry{{ID: "ring"}, {ID: "bars"}, {ID: "cross"}})
	if err != nil {
		log.Fatal(err)
	}
	query, err := lib.EmbedText(ctx, "Three blue  bars")
	if err != nil {
		log.Fatal(err)
	}
	hits, err := lib.Search(query, retrieval.Options{K: 1, Modality: "text"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %.3f\n", hits[0].ID, hits[0].Score)
	// Output: bars 1.000
}
